import { z } from "zod";
import { logoProblem } from "../apps/logo.ts";
import { redirectUriProblem } from "../connect/redirect-uris.ts";
import { SCOPES } from "../connect/scopes.ts";
import { hasUnseen, hasUnseenInWords } from "../platform/unseen.ts";

/** Fields of forms and filters. Messages are shown at the field. */

export const name = z
  .string()
  .trim()
  .min(1, "Give it a name.")
  .max(80, "A name has at most 80 characters.")
  .refine((text) => storable(text) && !hasUnseenInWords(text), "A name has only printable characters.");

/** Trimmed and in lower case, as it is stored. */
export const email = z
  .string()
  .trim()
  .toLowerCase()
  .max(254, "An email address has at most 254 characters.")
  .refine((text) => z.email().safeParse(text).success, "Write an email address, such as mara@example.com.");

/** A new password. Only its length is checked: NIST SP 800-63B-4 §3.1.1.2 advises against rules of composition. */
export const password = z
  .string()
  .min(10, "Use at least 10 characters. A few words in a row are easy to remember.")
  .max(200, "Use at most 200 characters.");

/** Credits in a calendar month (UTC). */
export const monthlyLimit = z
  .bigint()
  .min(0n, "A limit is not negative.")
  .max(1_000_000_000_000n, "A limit is at most $1,000,000. To spend as much as there is, choose no limit.");

/** Without control characters: PostgreSQL refuses NUL in a text. */
export const filter = z.string().max(255).refine(storable, "There is no such value.");

export const siteUrl = z
  .string()
  .trim()
  .max(2000)
  .refine((text) => isHttpUrl(text), "Write the whole address, such as https://acme.chat.");

export const markupBps = z
  .number()
  .int("A markup has at most two decimals.")
  .min(0, "A markup is not negative.")
  .max(100_000, "A markup is at most 1,000 %.");

export const redirectUris = z
  .array(z.string())
  .max(20, "An app has at most 20 redirect URIs.")
  .transform((uris) => uris.map((uri) => uri.trim()).filter((uri) => uri !== ""))
  .superRefine((uris, context) => {
    for (const uri of uris) {
      const problem = redirectUriProblem(uri);
      if (problem !== null) context.addIssue({ code: "custom", message: `${uri}: ${problem}` });
    }
    if (new Set(uris).size < uris.length) context.addIssue({ code: "custom", message: "The same redirect URI is there twice." });
  });

/** A small image as a data: URL. */
export const logoUrl = z.string().superRefine((address, context) => {
  const problem = logoProblem(address);
  if (problem !== null) context.addIssue({ code: "custom", message: problem });
});

/** Scopes that an app may ask for, without duplicates and in the order of `SCOPES`. */
export const scopes = z
  .array(z.enum(SCOPES))
  .min(1, "An app that may ask for nothing can't connect anybody. Choose at least one.")
  .transform((chosen) => SCOPES.filter((scope) => chosen.includes(scope)));

/** An empty list allows every model. */
export const allowedModels = z.array(z.string().max(200)).max(1000);

const HOUR_MS = 60 * 60 * 1000;
/** How long a replaced key or secret works beside its successor. */
export const overlaps = {
  none: { ms: 0, words: "Not at all: it ends now" },
  hour: { ms: HOUR_MS, words: "For an hour" },
  day: { ms: 24 * HOUR_MS, words: "For a day" },
  week: { ms: 7 * 24 * HOUR_MS, words: "For 7 days" },
} as const;
export type Overlap = keyof typeof overlaps;
export const overlap = z.enum(Object.keys(overlaps) as [Overlap, ...Overlap[]]);

function isHttpUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && (url.protocol === "https:" || url.protocol === "http:") && storable(text) && !hasUnseen(text);
}

function storable(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  return !/[\u0000-\u001f\u007f]/.test(text);
}
