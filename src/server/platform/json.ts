import { AppError } from "./errors.ts";

/** How much structure a JSON text may have. `http/body.ts` bounds its length; text within strings costs little. */
export type JsonBounds = {
  /** Levels of nested objects and lists. */
  depth: number;
  /** Objects and lists. */
  containers: number;
  /** Name/value pairs in all objects together. */
  members: number;
  /** Elements of lists and members of objects, in all of them together. */
  values: number;
};

/** For requests to models: conversations of thousands of messages, hundreds of tools, and inputs given as tokens, of which OpenAI takes 300,000. */
export const LARGE_JSON: JsonBounds = { depth: 256, containers: 50_000, members: 50_000, values: 500_000 };

/** For everything else. */
export const SMALL_JSON: JsonBounds = { depth: 32, containers: 5_000, members: 5_000, values: 20_000 };

/**
 * Parses a text that a client sent. V8's parser takes seconds for megabytes of nesting or of distinct
 * names, and blocks the event loop for as long, so the structure is counted first, in one pass that
 * ends at the first bound it exceeds.
 *
 * Throws `bad_request` when the text is no JSON or has more structure than `bounds` allow.
 */
export function parseJson(text: string, bounds: JsonBounds): unknown {
  const excess = excessOf(text, bounds);
  if (excess !== null) throw new AppError("bad_request", { message: `The request body ${excess}.` });
  try {
    return JSON.parse(text);
  } catch {
    throw new AppError("bad_request", { message: "The request body is not valid JSON." });
  }
}

/** Which bound a JSON text exceeds, as the end of a sentence; null when it exceeds none, or is no JSON. */
export function excessOf(text: string, bounds: JsonBounds): string | null {
  let depth = 0;
  let containers = 0;
  let members = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at) - 1;
        // A string without an end: JSON.parse reports it.
        if (at < 0) return null;
        break;
      case OPEN_OBJECT:
      case OPEN_LIST:
        if (++depth > bounds.depth) return `is nested deeper than ${bounds.depth} levels`;
        if (++containers > bounds.containers) return `has more than ${bounds.containers} objects and lists`;
        values++;
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        depth--;
        break;
      case COLON:
        if (++members > bounds.members) return `has more than ${bounds.members} members`;
        break;
      case COMMA:
        if (++values > bounds.values) return `has more than ${bounds.values} values`;
    }
  }
  return null;
}

const [QUOTE, OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST, COLON, COMMA] = [34, 123, 125, 91, 93, 58, 44];

/** The index after the closing quote of the string that begins at `start`; 0 when the string has no end. */
export function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  return 0;
}

const BACKSLASH = 92;
