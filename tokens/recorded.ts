import { createHash } from "node:crypto";

/** What `npm run tokens` counted, for a test that has none of the tokenizers. */
export type Recorded = {
  packages: string[];
  /** Of each sample: what its text was, and how many tokens each tokenizer makes of it. */
  samples: Record<string, { digest: string; counts: Record<string, number> }>;
};

/** Tells whether a text is still the one that was counted. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
