import type { Tokenizer } from "./bpe.ts";
import { tokensOf } from "./bpe.ts";
import type { CatalogueModel } from "./catalogue.ts";

// Upper bounds of the tokens of a text, for tokenizers that this process does not have: `mostTokens` by bytes, in little
// time, and `closerBound` with o200k_base. The closer one was measured against public tokenizers (`npm run tokens`,
// docs/tokenizers.md); docs/decisions/0004 has the reasons.

/** Tokenizers for which bounds differ. */
export type TokenizerKind = "o200k" | "claude" | "other";

/** OpenAI's chat models use o200k_base; its embeddings don't, and an operator's own model may use any tokenizer. */
export function tokenizerOf(model: Pick<CatalogueModel, "provider" | "upstreamId" | "kind"> & { custom: boolean }): TokenizerKind {
  if (/claude/i.test(model.upstreamId)) return "claude";
  return model.provider === "openai" && model.kind === "chat" && !model.custom ? "o200k" : "other";
}

/**
 * The least that a token of o200k_base counts as. For models with o200k_base itself the margin is for tokens that a
 * provider adds. Claude's tokenizers since Opus 4.7 are not public: Anthropic says that they make some 30 % more tokens
 * than the one before, and published counts of English reach 1.92 times o200k_base (25 for 13).
 */
export const MARGINS: Readonly<Record<TokenizerKind, number>> = { o200k: 1.05, claude: 2.25, other: 1.5 };

/**
 * An upper bound for any tokenizer, without the one token that some put before a text: a token for each byte of the text
 * or of its NFKC form, whichever has more. Claude's published tokenizer normalizes to NFKC first, so that U+FDFA, of 3
 * bytes, becomes 15 tokens. A JSON escape (`\ufdfa`) counts as its character when that is more.
 */
export function mostTokens(text: string): number {
  const bytes = Buffer.byteLength(text);
  return bytes + (bytes === text.length ? 0 : growth(text)) + growthOfEscapes(text);
}

/** Upper bound of the bytes that NFKC adds to a text: the sum for its characters, because composition adds none. */
function growth(text: string): number {
  growthByUnit ??= findGrowth();
  let bytes = 0;
  for (let at = 0; at < text.length; at++) bytes += growthByUnit[text.charCodeAt(at)] as number;
  return bytes;
}

let growthByUnit: Uint8Array | undefined;

/** The bytes that NFKC adds, for each UTF-16 unit. A high surrogate has the maximum of all characters that begin with it. */
function findGrowth(): Uint8Array {
  const found = new Uint8Array(0x10000);
  for (let code = 0x80; code < 0x10000; code++) {
    if (code < 0xd800 || code > 0xdfff) found[code] = growthOf(String.fromCharCode(code));
  }
  for (const [first, last] of EXPANDING_ASTRAL_BLOCKS) {
    for (let code = first; code <= last; code++) {
      const character = String.fromCodePoint(code);
      const unit = character.charCodeAt(0);
      found[unit] = Math.max(found[unit] as number, growthOf(character));
    }
  }
  return found;
}

/** Musical symbols and enclosed letters. A test checks the bound for all of Unicode. */
const EXPANDING_ASTRAL_BLOCKS = [
  [0x1d100, 0x1d1ff],
  [0x1f100, 0x1f2ff],
] as const;

function growthOf(character: string): number {
  const normal = character.normalize("NFKC");
  return normal === character ? 0 : Math.max(0, Buffer.byteLength(normal) - Buffer.byteLength(character));
}

/** Bytes that characters written as `\uXXXX` have in NFKC beyond the six of the escape. */
function growthOfEscapes(text: string): number {
  let bytes = 0;
  for (let at = text.indexOf("\\u"); at !== -1; at = text.indexOf("\\u", at + 2)) {
    const code = Number.parseInt(text.slice(at + 2, at + 6), 16);
    if (!(code >= 0x80)) continue;
    growthByUnit ??= findGrowth();
    bytes += Math.max(0, (growthByUnit[code] as number) + (code < 0x800 ? 2 : 3) - 6);
  }
  return bytes;
}

/**
 * An upper bound of the tokens that another tokenizer than o200k_base makes of `text`: the sum of the yielded numbers.
 * Each step takes at most about a millisecond.
 *
 * Text that tokenizers treat most differently is counted apart: a token for each digit, each byte of a character beyond
 * ASCII, each control character and backslash, each character of a run in which one or two characters repeat four times
 * or more, and one for every four blanks of a run. The rest, mostly words, is counted with o200k_base.
 */
export function* closerBound(tokenizer: Tokenizer, text: string, margin: number): Generator<number, void, void> {
  for (let start = 0; start < text.length; start += STEP_UNITS) {
    const { apart, rest } = separate(text.slice(start, start + STEP_UNITS));
    yield apart;
    for (const tokens of tokensOf(tokenizer, rest)) {
      let bound = 0;
      for (const token of tokens) bound += weigh(tokenizer.ranks[token], margin);
      yield bound;
    }
  }
}

/** A word or run that is cut at the end of a step counts as two, which adds a token or two. */
const STEP_UNITS = 4_096;

/** Replaces text that is counted apart. A digit, because o200k_base joins digits with digits only, and all of them are replaced. */
const MARK = "0";

/** The tokens of what is counted apart, and the text with a mark in place of each such part. */
function separate(text: string): { apart: number; rest: string } {
  let [apart, rest, taken] = [0, "", 0];
  for (let at = 0; at < text.length; ) {
    const unit = text.charCodeAt(at);
    let end = at + 1;
    if (unit >= 0x7f) {
      while (text.charCodeAt(end) >= 0x7f) end++;
      apart += mostTokens(text.slice(at, end));
    } else if (unit < 32 || unit === BACKSLASH || (unit >= 48 && unit <= 57)) {
      apart++;
    } else {
      end = endOfRun(text, at);
      if (end === at) {
        at++;
        continue;
      }
      apart += unit === BLANK ? Math.ceil((end - at) / 4) : end - at;
    }
    rest += taken === at && at > 0 ? "" : text.slice(taken, at) + MARK;
    taken = at = end;
  }
  return { apart, rest: rest + text.slice(taken) };
}

const BACKSLASH = 92;
const BLANK = 32;

/** The end of a run that begins at `at`, in which one or two characters repeat four times or more; `at` when there is none. */
function endOfRun(text: string, at: number): number {
  for (const period of [1, 2]) {
    let end = at + period;
    while (end < text.length && text.charCodeAt(end) === text.charCodeAt(end - period) && text.charCodeAt(end) < 0x7f) end++;
    if (end - at >= 4 * period) return end;
  }
  return at;
}

/**
 * What a token of o200k_base counts as. Its vocabulary is larger than most, so other tokenizers split a long token: it
 * counts as a third of its lower-case letters and half of its other characters, if that is more than the margin.
 */
function weigh(token: string | readonly number[] | undefined, margin: number): number {
  if (typeof token !== "string") return margin;
  if (token === MARK) return 0;
  let sixths = 0;
  for (let at = 0; at < token.length; at++) sixths += isLowerCase(token.charCodeAt(at)) ? 2 : 3;
  return Math.max(margin, sixths / 6);
}

function isLowerCase(unit: number): boolean {
  return unit >= 97 && unit <= 122;
}
