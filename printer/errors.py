"""Say what is wrong with a label, a template or a printer in words a person can act on.

Every error has a stable `code` ("printer.out_of_paper") that logs, screens and the spool's `reason` column share, and a
Chinese and an English sentence that says what to do. Nothing here touches a device.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class PrinterReason(StrEnum):
    """Why a printer did not print. The value is the last part of the error code."""

    UNREACHABLE = "unreachable"
    OUT_OF_PAPER = "out_of_paper"
    LID_OPEN = "lid_open"
    LINK_LOST = "link_lost"
    NO_ANSWER = "no_answer"
    WRONG_LANGUAGE = "wrong_language"
    BUSY = "busy"
    PAUSED = "paused"
    JAMMED = "jammed"
    TOO_HOT = "too_hot"
    LOW_BATTERY = "low_battery"
    NO_SPACE = "no_space"
    NO_BLUETOOTH = "no_bluetooth"
    DOES_NOT_FIT = "does_not_fit"
    BAD_LABEL = "bad_label"
    BAD_TEMPLATE = "bad_template"
    BAD_JOB = "bad_job"
    MAYBE_PRINTED = "maybe_printed"
    EXPIRED = "expired"

    @property
    def code(self) -> str:
        """Return the stable error code, for example "printer.out_of_paper"."""
        return f"printer.{self.value}"


_MESSAGES: Final[dict[PrinterReason, tuple[str, str]]] = {
    PrinterReason.UNREACHABLE: (
        "连不上打印机：看它是否开机、有电、在身边，再试一次。",
        "The printer does not answer: check that it is on, charged and near, then try again.",
    ),
    PrinterReason.OUT_OF_PAPER: (
        "打印机没纸了：装好纸，标签会自动接着打。",
        "Out of paper: load a roll, printing goes on.",
    ),
    PrinterReason.LID_OPEN: (
        "打印机盖子开着：盖好，标签会自动接着打。",
        "The lid is open: close it, printing goes on.",
    ),
    PrinterReason.LINK_LOST: (
        "和打印机的连接断了：靠近一点，会自动重连。",
        "The link to the printer broke: move closer, it reconnects by itself.",
    ),
    PrinterReason.NO_ANSWER: (
        "打印机收到了但没有回应：看标签出来没有，必要时关机再开。",
        "The printer takes bytes but says nothing: look whether the label came out, switch it off and on if not.",
    ),
    PrinterReason.WRONG_LANGUAGE: (
        "打印机型号选错了：到设置里换一个型号，不要再打，会走空纸。",
        "The printer speaks another language: choose its model in the settings before printing again.",
    ),
    PrinterReason.BUSY: ("打印机正忙：稍等，会自动再试。", "The printer is busy: wait, it is tried again."),
    PrinterReason.PAUSED: ("打印机被暂停了：按一下它的走纸键。", "The printer is paused: press its feed key."),
    PrinterReason.JAMMED: ("打印机卡纸了：打开盖子取出卡住的纸。", "Paper jam: open the lid and take the paper out."),
    PrinterReason.TOO_HOT: ("打印头太热：等一两分钟。", "The print head is too hot: wait a minute or two."),
    PrinterReason.LOW_BATTERY: ("打印机快没电了：充电或换电池。", "The printer's battery is low: charge or change it."),
    PrinterReason.NO_SPACE: (
        "存不下打印文件：清理磁盘空间。",
        "The print file cannot be stored: free some disk space.",
    ),
    PrinterReason.NO_BLUETOOTH: (
        "手机蓝牙没开或没有权限：打开蓝牙并允许使用。",
        "Bluetooth is off or not allowed: switch it on and allow it.",
    ),
    PrinterReason.DOES_NOT_FIT: (
        "标签比打印机的纸宽：换纸，或到设置里换模板。",
        "The label is wider than the printer: change the paper or the template.",
    ),
    PrinterReason.BAD_LABEL: (
        "标签内容有错，打不了：报给管理员。",
        "The label cannot be printed: tell the administrator.",
    ),
    PrinterReason.BAD_TEMPLATE: (
        "标签模板有错：请管理员改模板。",
        "The label template is wrong: ask the administrator to correct it.",
    ),
    PrinterReason.BAD_JOB: (
        "没有这个打印任务，或它不在这个状态。",
        "There is no such print job, or not in this state.",
    ),
    PrinterReason.MAYBE_PRINTED: (
        "不确定打出来没有：看一眼打印机，有纸出来点“有”，没有点“没有”。",
        "It is not known whether it came out: look at the printer, then answer yes or no.",
    ),
    PrinterReason.EXPIRED: (
        "等得太久，没有打：还要就重打。",
        "It waited too long and was not printed: reprint if needed.",
    ),
}


def message_zh(reason: PrinterReason) -> str:
    """Return the Chinese sentence for a person."""
    return _MESSAGES[reason][0]


def message_en(reason: PrinterReason) -> str:
    """Return the English sentence for a person."""
    return _MESSAGES[reason][1]


def find_reason(code: str | None) -> PrinterReason | None:
    """Return the reason a stable code names, or None for anything else (also for a code of a newer version)."""
    if code is None or not code.startswith("printer."):
        return None
    try:
        return PrinterReason(code.removeprefix("printer."))
    except ValueError:
        return None


class PrinterError(Exception):
    """Anything printing can fail with; `reason` is for people, `detail` for the log."""

    def __init__(self, reason: PrinterReason, detail: str = "") -> None:
        super().__init__(f"{reason.code}: {detail}" if detail else reason.code)
        self.reason = reason
        self.detail = detail

    @property
    def code(self) -> str:
        """Return the stable error code."""
        return self.reason.code


class LabelError(PrinterError):
    """A label that cannot be printed as it is: our bug or a wrong template, never the printer's fault."""

    def __init__(self, detail: str, reason: PrinterReason = PrinterReason.BAD_LABEL) -> None:
        super().__init__(reason, detail)


class TemplateError(PrinterError):
    """A template that asks for what nobody supplied, or places something off the label."""

    def __init__(self, detail: str) -> None:
        super().__init__(PrinterReason.BAD_TEMPLATE, detail)


class DeviceError(PrinterError):
    """The printer or the way to it failed; trying again later may work."""


class SpoolError(PrinterError):
    """A spool row was asked for something its state does not allow."""

    def __init__(self, detail: str) -> None:
        super().__init__(PrinterReason.BAD_JOB, detail)
