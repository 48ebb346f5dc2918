"use client";

import { redirectUriProblem } from "#server/connect/redirect-uris.ts";
import { timesPaid } from "#server/pricing/price.ts";
import * as fields from "#server/trpc/fields.ts";
import type { Answers } from "#trpc/client.tsx";
import { ConsentSheet, modelChoice } from "#ui/consent-sheet.tsx";
import { bpsOf } from "#ui/percent.ts";
import type { Typed } from "./app-form.ts";

/** Whose view the preview shows, and the base cost of one message. */
export type Viewer = { email: string; balance: bigint; example: { model: string; base: bigint } | null };

/**
 * The consent page with the typed settings: the same component, shown to the developer as to a
 * user who connects for the first time. A value that is not valid yet is shown as saved.
 */
export function ConsentPreview({
  typed,
  saved,
  models,
  viewer,
}: {
  typed: Typed;
  saved: Answers["apps"]["get"];
  models: string[];
  viewer: Viewer;
}) {
  const site = typed.siteUrl.trim();
  const bps = bpsOf(typed.markup);
  const app = {
    name: typed.name.trim() || saved.name,
    logoUrl: typed.logoUrl,
    siteUrl: site === "" ? null : fields.siteUrl.safeParse(site).success ? site : saved.siteUrl,
    markupBps: bps !== null && fields.markupBps.safeParse(bps).success ? bps : saved.markupBps,
  };
  const returnTo = typed.redirectUris.map(({ uri }) => uri.trim()).find((uri) => uri !== "" && redirectUriProblem(uri) === null);
  const { email, balance, example } = viewer;
  const messages = example && timesPaid(balance, example.base, app.markupBps);
  return (
    <section aria-labelledby="preview-heading" className="min-w-0">
      <div className="xl:sticky xl:top-6">
        <h2 id="preview-heading" className="font-semibold">
          The consent page
        </h2>
        <p className="mb-3 mt-1 text-sm text-soft">
          As people see it with the values on this screen, when the app asks for all that it may. Only a picture: nothing in it can be
          pressed.
        </p>
        <section
          aria-label="Preview"
          // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll area has to be reachable by keyboard, and not every browser makes it so.
          tabIndex={0}
          className="max-w-md overflow-y-auto rounded-xl bg-sunken p-3 xl:max-h-[calc(100dvh-9rem)]"
        >
          <div inert data-preview>
            <ConsentSheet
              app={app}
              scopes={typed.scopes}
              email={email}
              balance={balance}
              worth={example && messages !== null ? { messages, model: example.model } : null}
              models={modelChoice(typed.allowedModels, models)}
              earlier={null}
              returnHost={returnTo === undefined ? "your redirect URI" : new URL(returnTo).host}
            />
          </div>
        </section>
      </div>
    </section>
  );
}
