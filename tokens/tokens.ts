/**
 * Counts the samples with other makers' tokenizers and compares the counts with the bounds of
 * src/server/pricing/bound.ts. Writes the counts, which a test reads, and the table in docs/tokenizers.md. Exits with 1
 * when a tokenizer makes more tokens of a text than its bound.
 *
 *   npm run tokens               installs the tokenizers into a temporary folder, some 900 MB, and removes it
 *   npm run tokens -- FOLDER     uses the tokenizers in FOLDER, after installing them there if they are not
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { mostTokens } from "../src/server/pricing/bound.ts";
import { boundTextTokens, countTextTokens } from "../src/server/pricing/tokens.ts";
import { writePage } from "./page.ts";
import { digest, type Recorded } from "./recorded.ts";
import { samples } from "./samples.ts";
import { type Counter, install, load, packages } from "./tokenizers.ts";

const given = process.argv[2];
const folder = given ?? mkdtempSync(path.join(tmpdir(), "quota-tokens-"));
let tooLow: string[];
try {
  mkdirSync(folder, { recursive: true });
  if (!existsSync(path.join(folder, "node_modules"))) install(folder);
  tooLow = await measure(load(folder));
} finally {
  if (given === undefined) rmSync(folder, { recursive: true, force: true });
}
if (tooLow.length > 0) {
  console.error(`\nAbove a bound:\n${tooLow.join("\n")}`);
  process.exitCode = 1;
}

async function measure(tokenizers: ReadonlyMap<string, Counter>): Promise<string[]> {
  const wrong: string[] = [];
  const recorded: Recorded = { packages: Object.entries(packages).map(([name, { version }]) => `${name}@${version}`), samples: {} };
  for (const [name, text] of Object.entries(samples)) {
    const counts = Object.fromEntries([...tokenizers].map(([tokenizer, count]) => [tokenizer, count(text)]));
    recorded.samples[name] = { digest: digest(text), counts };
  }
  const alone = new Map<string, number>();
  for (const [tokenizer, count] of tokenizers) {
    const worst = worstAlone(count);
    alone.set(tokenizer, worst.ratio);
    if (worst.ratio > 1) wrong.push(`U+${worst.code.toString(16)} alone, ${tokenizer}: ${worst.ratio} of its bound`);
  }
  const rows = [];
  for (const [name, { counts }] of Object.entries(recorded.samples)) {
    const text = samples[name] as string;
    const bound = 1 + (await boundTextTokens([text], "other"));
    const inJson = await boundTextTokens([JSON.stringify(text)], "other");
    for (const [tokenizer, count] of Object.entries(counts)) {
      const least = Math.min(bound, inJson, 1 + mostTokens(text));
      if (count > least) wrong.push(`${name}, ${tokenizer}: ${count} tokens, bound ${least}`);
    }
    rows.push({ name, text, counts, bound, o200k: await countTextTokens(text) });
  }
  writeFileSync(new URL("counts.json", import.meta.url), `${JSON.stringify(recorded, null, 2)}\n`);
  console.log(writePage([...tokenizers.keys()], rows, alone));
  return wrong;
}

/** The character of the Basic Multilingual Plane that, as a text of its own, has the most tokens in proportion to its bound. */
function worstAlone(count: Counter): { code: number; ratio: number } {
  let worst = { code: 0, ratio: 0 };
  for (let code = 1; code < 0x10000; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const character = String.fromCharCode(code);
    const ratio = count(character) / (1 + mostTokens(character));
    if (ratio > worst.ratio) worst = { code, ratio };
  }
  return worst;
}
