"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { FormError, TextAreaField, TextField } from "#ui/field.tsx";
import { bpsOf, percentOf } from "#ui/percent.ts";

export function SettingsForm({ app }: { app: Answers["apps"]["get"] }) {
  const router = useRouter();
  const [markupError, setMarkupError] = useState<string>();
  const update = trpc.apps.update.useMutation({ onSuccess: () => router.refresh() });
  const failure = failureOf(update.error);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const markupBps = bpsOf(String(form.get("markup")));
    setMarkupError(markupBps === null ? "Write a percentage with at most two decimals, such as 12.5." : undefined);
    if (markupBps === null) return;
    update.mutate({
      appId: app.id,
      name: String(form.get("name")),
      siteUrl: String(form.get("siteUrl")).trim() || null,
      redirectUris: String(form.get("redirectUris")).split("\n"),
      publicClient: form.get("publicClient") === "on",
      markupBps,
    });
  }

  return (
    // What was saved a moment ago is old news as soon as something else is typed.
    <form onSubmit={submit} onChange={() => !update.isPending && update.reset()} className="space-y-6">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <TextField label="Name" name="name" defaultValue={app.name} maxLength={80} required autoComplete="off" error={failure.fields.name} />
      <TextField
        label="Site"
        name="siteUrl"
        type="url"
        defaultValue={app.siteUrl ?? ""}
        placeholder="https://acme.chat"
        optional
        autoComplete="off"
        error={failure.fields.siteUrl}
      />
      <TextField
        label="Markup"
        name="markup"
        inputMode="decimal"
        suffix="%"
        className="max-w-32"
        defaultValue={percentOf(app.markupBps)}
        required
        autoComplete="off"
        error={markupError ?? failure.fields.markupBps}
        hint="Added to the model's price on every request, and yours. People see it before they connect."
      />
      <TextAreaField
        label="Redirect URIs"
        name="redirectUris"
        rows={Math.max(3, app.redirectUris.length + 1)}
        defaultValue={app.redirectUris.join("\n")}
        placeholder="https://acme.chat/api/quota/callback"
        spellCheck={false}
        className="font-mono text-[0.8125rem] leading-6"
        error={failure.fields.redirectUris}
        hint="One on each line. People return to one of them after they connect; it has to be the same to the letter. https, or http on localhost."
      />
      <div>
        <label className="flex w-fit items-center gap-2 text-sm font-medium">
          <input
            type="checkbox"
            name="publicClient"
            defaultChecked={app.publicClient}
            aria-describedby="public-client-hint"
            className="size-4 accent-accent"
          />
          Public OAuth client
        </label>
        <p id="public-client-hint" className="mt-1.5 text-sm leading-5 text-soft">
          For an app that runs in people’s browsers or on their devices and can’t keep a secret. It connects with PKCE alone, and not with
          hosted storage.
        </p>
      </div>
      <div className="flex items-center gap-4">
        <Button type="submit" kind="primary" disabled={update.isPending}>
          {update.isPending ? "Saving" : "Save"}
        </Button>
        <p role="status" className="text-sm text-soft">
          {update.isSuccess && "Saved."}
        </p>
      </div>
    </form>
  );
}
