/** The longest text, in characters, because a schema may ask for any length. */
export const MAX_TEXT = 10_000;

/**
 * A text for the common patterns: literals, classes, \d \w \s, groups, alternatives, counts.
 * Undefined for other patterns (lookarounds, backreferences, unicode classes, negated classes).
 */
export function textForPattern(pattern: string): string | undefined {
  let at = 0;
  let written = 0;
  const unknown = Symbol("unknown");

  function alternatives(): string {
    const first = sequence();
    while (pattern[at] === "|") {
      at += 1;
      sequence();
    }
    return first;
  }

  function sequence(): string {
    let text = "";
    while (at < pattern.length && pattern[at] !== "|" && pattern[at] !== ")") {
      const start = pattern[at];
      if (start === "^" || start === "$") {
        at += 1;
        continue;
      }
      const one = atom();
      const times = quantity();
      written += one.length * times;
      if (written > MAX_TEXT) throw unknown;
      text += one.repeat(times);
    }
    return text;
  }

  function atom(): string {
    const start = pattern[at] ?? "";
    at += 1;
    if (start === "\\") return escaped();
    if (start === "[") return characterClass();
    if (start === ".") return "a";
    if (start !== "(") return start;
    if (pattern.startsWith("?:", at)) at += 2;
    else if (pattern[at] === "?") throw unknown;
    const inner = alternatives();
    at += 1;
    return inner;
  }

  function escaped(): string {
    const letter = pattern[at] ?? "";
    at += 1;
    const known: Record<string, string> = { d: "1", w: "a", s: " ", t: "\t", n: "\n", D: "a", W: "-", S: "a" };
    if (known[letter] !== undefined) return known[letter];
    if (/[a-z0-9]/i.test(letter)) throw unknown;
    return letter;
  }

  function characterClass(): string {
    if (pattern[at] === "^") throw unknown;
    const start = pattern[at] ?? "";
    at += 1;
    const first = start === "\\" ? escaped() : start;
    while (at < pattern.length && pattern[at] !== "]") at += pattern[at] === "\\" ? 2 : 1;
    at += 1;
    return first;
  }

  function quantity(): number {
    const sign = pattern[at];
    const counted = /^\{(\d+)(,\d*)?\}/.exec(pattern.slice(at, at + 20));
    let times = 1;
    if (counted) {
      at += counted[0].length;
      times = Number(counted[1]);
    } else if (sign === "+" || sign === "*" || sign === "?") {
      at += 1;
      times = 1;
    } else return 1;
    if (pattern[at] === "?") at += 1;
    return times;
  }

  if (pattern.length > 1000) return undefined;
  try {
    const text = alternatives();
    return at === pattern.length ? text : undefined;
  } catch (error) {
    if (error === unknown) return undefined;
    throw error;
  }
}
