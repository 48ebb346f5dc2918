import { AppError } from "./errors.ts";

/** How much structure a JSON text may have. Its length is bounded elsewhere; text within strings costs next to nothing. */
export type JsonBounds = {
  /** Objects and lists within one another. */
  depth: number;
  /** Objects and lists. */
  containers: number;
  /** Names with their values, in all objects together. */
  members: number;
  /** Everything that stands in a list or an object. */
  values: number;
};

/** For requests to models: conversations of thousands of messages, hundreds of tools, and inputs given as tokens, of which OpenAI takes 300,000. */
export const LARGE_JSON: JsonBounds = { depth: 256, containers: 50_000, members: 50_000, values: 500_000 };

/** For everything else. */
export const SMALL_JSON: JsonBounds = { depth: 32, containers: 5_000, members: 5_000, values: 20_000 };

/**
 * Parses a text that somebody sent. V8's parser takes seconds for megabytes of nesting or of names, and nothing else
 * runs meanwhile, so the structure is counted first, in one pass that ends at the first bound it meets.
 *
 * Throws `bad_request` when it is no JSON or has more structure than `bounds` allow.
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

/** What a JSON text has too much of, as the end of a sentence; null when it is within its bounds, or no JSON. */
export function excessOf(text: string, bounds: JsonBounds): string | null {
  let depth = 0;
  let containers = 0;
  let members = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at) - 1;
        // A string without an end: the parser says so.
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

/** Where the string that begins at `start` ends, after its quote: at the first that is not escaped. 0 when it has no end. */
export function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  return 0;
}

const BACKSLASH = 92;
