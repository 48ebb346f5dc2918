/**
 * Server-sent events in bytes that are cut anywhere. A line ends in LF, CR LF or CR, and servers mix them:
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */

/** The longest end of an event is CR LF CR LF. */
export const SEPARATOR_BYTES = 4;

const CR = 13;
const LF = 10;

/** A CR and an LF after it are one line end. */
const LINE_END = "(?:\\r\\n|\\n|\\r(?!\\n))";
const AFTER_EVENT = new RegExp(`(?<=${LINE_END}${LINE_END})`);
const AFTER_LFS = /(?<=\n\n)/;
const BETWEEN_LINES = new RegExp(LINE_END);

/** Events with the empty lines that end them. */
export function eventsIn(events: Buffer | string): string[] {
  const text = events.toString("utf8");
  return text.split(text.includes("\r") ? AFTER_EVENT : AFTER_LFS);
}

/**
 * The index after the last empty line: all bytes before it are whole events. A CR at the end may be the first half of a
 * CR LF, so it ends an event only when the line before it ended in a CR too.
 */
export function endOfLastEvent(bytes: Buffer): number {
  const length = bytes.length;
  if (length >= 2 && bytes[length - 1] === LF && bytes[length - 2] === LF) return length;
  return Math.max(after(bytes, "\n\n"), after(bytes, "\r\r"), after(bytes, "\n\r"));
}

function after(bytes: Buffer, separator: string): number {
  for (let from: number | undefined; ; ) {
    const at = bytes.lastIndexOf(separator, from, "latin1");
    if (at === -1) return 0;
    const end = at + separator.length;
    if (bytes[end - 1] !== CR) return end;
    if (end < bytes.length) return bytes[end] === LF ? end + 1 : end;
    if (separator === "\r\r") return end;
    if (at === 0) return 0;
    from = at - 1;
  }
}

/**
 * The data of one event; null for comments and events without data. Its lines are joined
 * by a space and not by the standard's line feed: the data is JSON, where both mean the
 * same, and has to be written on one line again.
 */
export function eventData(event: string): string | null {
  const lines = event.split(event.includes("\r") ? BETWEEN_LINES : "\n").filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? null : lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join(" ");
}

/** Whether this data ends a stream of chat completions; some servers send a blank after it. */
export function isDone(data: string): boolean {
  return data.trim() === "[DONE]";
}

export function parseData(data: string): Record<string, unknown> | null {
  try {
    const chunk: unknown = JSON.parse(data);
    return typeof chunk === "object" && chunk !== null ? (chunk as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
