import { z } from "zod";
import { redirectUriProblem } from "#server/connect/redirect-uris.ts";
import * as fields from "#server/trpc/fields.ts";
import { bpsOf } from "#ui/percent.ts";

/** The typed settings of an app, and the input that the server gets. The rules are the server's. */
export const appForm = z.object({
  name: fields.name,
  logoUrl: fields.logoUrl.nullable(),
  siteUrl: z
    .string()
    .trim()
    .superRefine((text, context) => {
      const parsed = fields.siteUrl.safeParse(text);
      if (text !== "" && !parsed.success) context.addIssue({ code: "custom", message: parsed.error.issues[0]?.message ?? "" });
    })
    .transform((text) => (text === "" ? null : text)),
  markup: z.string().transform((text, context) => {
    const bps = bpsOf(text);
    const problem = bps === null ? undefined : fields.markupBps.safeParse(bps).error?.issues[0]?.message;
    if (bps !== null && problem === undefined) return bps;
    context.addIssue({ code: "custom", message: problem ?? "Write a percentage with at most two decimals, such as 12.5." });
    return z.NEVER;
  }),
  scopes: fields.scopes,
  allowedModels: fields.allowedModels,
  redirectUris: z.array(z.object({ uri: z.string().trim() })).superRefine((rows, context) => {
    const seen = new Set<string>();
    for (const [n, { uri }] of rows.entries()) {
      const problem = uri === "" ? null : seen.has(uri) ? "this address is there twice." : redirectUriProblem(uri);
      seen.add(uri);
      if (problem !== null) context.addIssue({ code: "custom", path: [n, "uri"], message: sentence(problem) });
    }
  }),
  publicClient: z.boolean(),
});

export type Typed = z.input<typeof appForm>;
export type Checked = z.output<typeof appForm>;

function sentence(text: string): string {
  return (text[0] as string).toUpperCase() + text.slice(1);
}
