// Stock Hocuspocus providers watch documents of a Nahuo hub over one socket and tell, one line of JSON at a time, what happens to them.
//   node watch_document.mjs <ws address> <token> <document>[=session] ...
// `=session` builds that provider with sessionAwareness. It runs until its stdin closes; the line "write DOCUMENT" there writes into a document.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import WebSocket from "ws";
import * as Y from "yjs";

const [url, token, ...names] = process.argv.slice(2);
const socket = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket, delay: 200, minDelay: 100, maxDelay: 1000 });
const providers = new Map();

const tell = (name, happened, more = {}) => {
  const provider = providers.get(name);
  const entries = {};
  if (provider) {
    for (const [key, value] of provider.document.getMap("envelopes").entries()) {
      entries[key] = value instanceof Uint8Array ? createHash("sha256").update(value).digest("hex") : String(value);
    }
  }
  const unsynced = provider ? provider.unsyncedChanges : 0;
  console.log(JSON.stringify({ name, happened, unsynced, synced: provider?.isSynced ?? false, entries, ...more }));
};

for (const argument of names) {
  const [name, session] = argument.split("=");
  const document = new Y.Doc();
  const provider = new HocuspocusProvider({
    websocketProvider: socket,
    name,
    document,
    token,
    sessionAwareness: session !== undefined,
    onAuthenticated: ({ scope }) => tell(name, "authenticated", { scope }),
    onAuthenticationFailed: ({ reason }) => tell(name, "denied", { reason }),
    onSynced: () => setImmediate(() => tell(name, "synced")),
    onUnsyncedChanges: ({ number }) => tell(name, "unsynced", { number }),
    onStatus: ({ status }) => tell(name, "status", { status }),
  });
  providers.set(name, provider);
  document.on("update", () => tell(name, "update"));
  provider.attach();
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [word, name] = line.split(" ");
  if (word === "write") providers.get(name).document.getMap("envelopes").set("1.1", new Uint8Array([1, 2, 3]));
});
lines.on("close", () => process.exit(0));
