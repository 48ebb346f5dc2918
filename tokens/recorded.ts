import { createHash } from "node:crypto";

/** The counts of `npm run tokens`, for a test that runs without the tokenizers. */
export type Recorded = {
  packages: string[];
  /** For each sample the digest of its text, and the number of tokens that each tokenizer makes of it. */
  samples: Record<string, { digest: string; counts: Record<string, number> }>;
};

/** By it the test recognizes a sample that has changed since it was counted. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
