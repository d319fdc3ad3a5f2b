// A stock Hocuspocus provider reads one document of a Nahuo hub and tells what it saw, as one line of JSON.
//   node read_document.mjs <ws address> <token> <document> [write]
// With `write` it also tries to change the document, which a reading token must not let it do.
import { createHash } from "node:crypto";
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import WebSocket from "ws";
import * as Y from "yjs";

const [url, token, name, write] = process.argv.slice(2);
const doc = new Y.Doc();
const envelopes = doc.getMap("envelopes");
const told = { hello: null, scope: null, refused: null, unsynced: 0, entries: {} };

const end = (more) => {
  for (const [key, value] of envelopes.entries()) {
    told.entries[key] = value instanceof Uint8Array ? createHash("sha256").update(value).digest("hex") : String(value);
  }
  console.log(JSON.stringify({ ...told, ...more }));
  process.exit(0);
};

const socket = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket });
const provider = new HocuspocusProvider({
  websocketProvider: socket,
  name,
  document: doc,
  token,
  onStateless: ({ payload }) => {
    const message = JSON.parse(payload);
    told.hello ??= message.hello ?? null;
    told.refused ??= message.refused ?? null;
  },
  onAuthenticated: ({ scope }) => {
    told.scope = scope;
  },
  onAuthenticationFailed: ({ reason }) => end({ denied: reason }),
  onSynced: () => {
    if (!write) {
      // The hello may come a moment after: let what is on its way arrive.
      setImmediate(() => setTimeout(() => end({}), 100));
      return;
    }
    envelopes.set("1.1", new Uint8Array([1, 2, 3]));
    setTimeout(() => {
      told.unsynced = provider.unsyncedChanges;
      envelopes.delete("1.1");
      end({});
    }, 500);
  },
});
provider.attach();
setTimeout(() => end({ timeout: true }), 15000);
