// OpenAI's tokenizer (o200k_base), in time linear in the length of any text. Its ranks are some 200,000 entries, which
// take a few hundred milliseconds to load, so it runs in a worker thread (`token-worker.ts`), and on the main thread
// only when no thread can be started.

/**
 * Merging byte pairs takes time quadratic in the length of a word, so a text is encoded in slices of this
 * many UTF-16 units. Only a word longer than half a slice can be cut, which may add or remove a token.
 */
const SLICE_LENGTH = 512;

const PLAIN_TEXT = { allowedSpecial: new Set<string>(), disallowedSpecial: new Set<string>() };

export interface Tokenizer {
  encode: (text: string, options: typeof PLAIN_TEXT) => number[];
  /** What each token stands for: text, or bytes where it is not whole characters. */
  ranks: readonly (string | readonly number[])[];
  /** Matches one word, in the sense of o200k_base: the unit inside which bytes are merged. */
  words: RegExp;
}

export async function loadTokenizer(): Promise<Tokenizer> {
  const [encoding, ranks, params] = await Promise.all([
    import("gpt-tokenizer/encoding/o200k_base"),
    import("gpt-tokenizer/bpeRanks/o200k_base"),
    import("gpt-tokenizer/encodingParams/constants"),
  ]);
  // The library caches merged words. The keys are slices of the texts, which would keep whole prompts in memory.
  encoding.setMergeCacheSize(0);
  return { encode: encoding.encode, ranks: ranks.default, words: params.O200K_TOKEN_SPLIT_REGEX };
}

/** The tokens of `text`, slice by slice; one slice takes at most about a millisecond. */
export function* tokensOf({ encode, words }: Tokenizer, text: string): Generator<number[], void, void> {
  let start = 0;
  while (start < text.length) {
    const end = sliceEnd(text, start, words);
    yield encode(text.slice(start, end), PLAIN_TEXT);
    start = end;
  }
}

/** The UTF-8 bytes of a token; null when there is no such token. */
export function bytesOf({ ranks }: Tokenizer, token: number): Uint8Array | null {
  const rank = ranks[token];
  if (rank === undefined) return null;
  return typeof rank === "string" ? utf8.encode(rank) : Uint8Array.from(rank);
}

const utf8 = new TextEncoder();

/**
 * Where the slice from `start` ends: at the start of a word, if possible. The last two words are left for the next
 * slice, because the text after them could join them ("don" and "'" become "don't"). A slice does not end in blanks,
 * because the text after them decides how they are split into words.
 */
function sliceEnd(text: string, start: number, words: RegExp): number {
  const limit = start + SLICE_LENGTH;
  if (limit >= text.length) return text.length;
  const starts = Array.from(text.slice(start, limit).matchAll(words), (match) => match.index);
  const wordStart = starts.slice(1, -1).findLast((at) => !/\s/.test(text.charAt(start + at - 1)));
  return wordStart === undefined ? betweenCharacters(text, limit) : start + wordStart;
}

/** UTF-16 units in a piece: at most about 30 ms of work. */
export const PIECE_UNITS = 16_384;
/** How far before its limit a piece may end at a blank. */
const LOOK_BACK_UNITS = 1_024;

/**
 * Cuts a text into pieces that can be tokenized on their own. A piece ends before a blank between two ASCII letters, if
 * there is one near its limit: the tokenizer always begins a new word there, so the tokens stay the same. In a text
 * without such a place each cut adds or removes at most a few tokens.
 */
export function cutIntoPieces(text: string): string[] {
  if (text.length <= PIECE_UNITS) return text === "" ? [] : [text];
  const pieces: string[] = [];
  for (let start = 0; start < text.length; ) {
    const end = pieceEnd(text, start);
    pieces.push(text.slice(start, end));
    start = end;
  }
  return pieces;
}

function pieceEnd(text: string, start: number): number {
  const limit = start + PIECE_UNITS;
  if (limit >= text.length) return text.length;
  for (let at = limit; at > limit - LOOK_BACK_UNITS; at--) {
    if (text.charCodeAt(at) === 32 && isLetter(text.charCodeAt(at - 1)) && isLetter(text.charCodeAt(at + 1))) return at;
  }
  return betweenCharacters(text, limit);
}

function isLetter(unit: number): boolean {
  return (unit >= 97 && unit <= 122) || (unit >= 65 && unit <= 90);
}

/** `at`, or the place before it when `at` is within a surrogate pair. */
function betweenCharacters(text: string, at: number): number {
  const unit = text.charCodeAt(at - 1);
  return unit >= 0xd800 && unit <= 0xdbff ? at - 1 : at;
}
