/** Server-sent events in bytes that are cut anywhere, after https://html.spec.whatwg.org/multipage/server-sent-events.html */

/** The longest end of an event is CR LF CR LF. */
export const SEPARATOR_BYTES = 4;

export function eventsIn(events: Buffer): string[] {
  return events.toString("utf8").split(/(?<=\r?\n\r?\n)/);
}

/** Where the last empty line ends: everything before it is whole events. */
export function endOfLastEvent(bytes: Buffer): number {
  const length = bytes.length;
  if (length >= 2 && bytes[length - 1] === 10 && bytes[length - 2] === 10) return length;
  return Math.max(after(bytes, "\n\n"), after(bytes, "\r\n\r\n"));
}

function after(bytes: Buffer, separator: string): number {
  const at = bytes.lastIndexOf(separator, undefined, "latin1");
  return at === -1 ? 0 : at + separator.length;
}

/**
 * The data of one event, on one line; null for comments and events without data.
 * Lines of an event are parted by a line feed, but what they make up here is JSON,
 * where a space means the same and goes out again on one line.
 */
export function eventData(event: string): string | null {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? null : lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join(" ");
}

export function parseData(data: string): Record<string, unknown> | null {
  try {
    const chunk: unknown = JSON.parse(data);
    return typeof chunk === "object" && chunk !== null ? (chunk as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
