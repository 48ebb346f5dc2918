"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { Controller, useForm, useWatch } from "react-hook-form";
import { LARGEST_LOGO_BYTES } from "#server/apps/logo.ts";
import type { Scope } from "#server/connect/scopes.ts";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Card } from "#ui/card.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { FormBody } from "#ui/form-body.tsx";
import { LogoField } from "#ui/logo-field.tsx";
import { ModelPicker } from "#ui/model-picker.tsx";
import { percentOf } from "#ui/percent.ts";
import { useLeaveQuestion } from "#ui/use-leave-question.ts";
import { appForm, type Checked, type Typed } from "./app-form.ts";
import { ConsentPreview, type Viewer } from "./consent-preview.tsx";
import { HowPeopleConnect } from "./how-people-connect.tsx";

type App = Answers["apps"]["get"];

const typedOf = (app: App): Typed => ({
  name: app.name,
  logoUrl: app.logoUrl,
  siteUrl: app.siteUrl ?? "",
  markup: percentOf(app.markupBps),
  scopes: app.scopes as Scope[],
  allowedModels: app.allowedModels,
  redirectUris: (app.redirectUris.length > 0 ? app.redirectUris : [""]).map((uri) => ({ uri })),
  publicClient: app.publicClient,
});

/** An app's settings, with a preview of its consent page beside them. */
export function SettingsForm({ app, models, viewer }: { app: App; models: string[]; viewer: Viewer }) {
  const router = useRouter();
  const form = useForm<Typed, unknown, Checked>({ resolver: zodResolver(appForm), defaultValues: typedOf(app) });
  const { register, formState } = form;
  const { errors, isDirty } = formState;
  useLeaveQuestion(isDirty);
  const typed = useWatch({ control: form.control }) as Typed;
  const update = trpc.apps.update.useMutation({ onSuccess: () => router.refresh() });
  const failure = failureOf(update.error);
  const wrong = Object.values(failure.fields);

  const save = form.handleSubmit(({ markup, redirectUris, ...rest }) => {
    const typedNow = () => JSON.stringify(form.getValues());
    const sent = typedNow();
    update.mutate(
      { appId: app.id, ...rest, markupBps: markup, redirectUris: redirectUris.map(({ uri }) => uri) },
      {
        onSuccess: (saved) => {
          // What was typed while the request ran stays, as unsaved.
          if (typedNow() === sent) form.reset(typedOf(saved));
        },
      },
    );
  });

  return (
    <div className="grid gap-8 xl:grid-cols-[minmax(0,1fr)_23rem]">
      <form onSubmit={save} noValidate aria-label="Settings of this app" className="min-w-0">
        <FormBody className="space-y-6">
          <Card className="space-y-6 p-4 sm:p-6">
            <h2 className="font-semibold">What people see</h2>
            <TextField label="Name" maxLength={80} autoComplete="off" error={errors.name?.message} {...register("name")} />
            <Controller
              control={form.control}
              name="logoUrl"
              render={({ field }) => (
                <LogoField
                  name={typed.name.trim()}
                  value={field.value}
                  onChange={field.onChange}
                  mostBytes={LARGEST_LOGO_BYTES}
                  error={errors.logoUrl?.message}
                />
              )}
            />
            <TextField
              label="Site"
              type="url"
              placeholder="https://acme.chat"
              optional
              autoComplete="off"
              error={errors.siteUrl?.message}
              {...register("siteUrl")}
            />
          </Card>

          <Card className="space-y-6 p-4 sm:p-6">
            <h2 className="font-semibold">What requests cost, and may ask for</h2>
            <TextField
              label="Markup"
              inputMode="decimal"
              suffix="%"
              className="max-w-32"
              autoComplete="off"
              error={errors.markup?.message}
              hint="Added to the model’s price on every request, and yours. People see it before they connect; who connected keeps what they agreed to, until they connect again."
              {...register("markup")}
            />
            <Controller
              control={form.control}
              name="allowedModels"
              render={({ field }) => (
                <ModelPicker
                  name="app-models"
                  ids={models}
                  value={field.value}
                  onChange={field.onChange}
                  error={errors.allowedModels?.message}
                />
              )}
            />
          </Card>

          <HowPeopleConnect form={form} />

          <div className="sticky bottom-0 -mx-1 flex flex-wrap items-center gap-x-4 gap-y-2 border-t border-line bg-page px-1 py-3">
            {/* Errors are in the sticky bar, because the end of the form may be out of view. */}
            {(failure.message !== null || wrong.length > 0) && (
              <div className="basis-full space-y-2">
                {failure.message !== null && <FormError>{failure.message}</FormError>}
                {wrong.length > 0 && <FormError>{wrong.join(" ")}</FormError>}
              </div>
            )}
            <Button type="submit" kind="primary" unavailable={update.isPending || !isDirty}>
              {update.isPending ? "Saving" : "Save settings"}
            </Button>
            {isDirty && (
              <Button kind="quiet" onClick={() => form.reset(typedOf(app))} unavailable={update.isPending}>
                Discard
              </Button>
            )}
            <p role="status" className="text-sm text-soft">
              {Object.keys(errors).length > 0
                ? "A field above needs another value."
                : isDirty
                  ? "Not saved yet."
                  : update.isSuccess && "Saved."}
            </p>
          </div>
        </FormBody>
      </form>
      <ConsentPreview typed={typed} saved={app} models={models} viewer={viewer} />
    </div>
  );
}
