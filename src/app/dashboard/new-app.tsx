"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { SecretDialog } from "#ui/secret-dialog.tsx";
import { appForm } from "./[appId]/settings/app-form.ts";

const newApp = appForm.pick({ name: true, siteUrl: true });

export function NewAppButton({ kind }: { kind: "primary" | "secondary" }) {
  const [open, setOpen] = useState(false);
  const router = useRouter();
  const form = useForm({ resolver: zodResolver(newApp), defaultValues: { name: "", siteUrl: "" } });
  const { errors } = form.formState;
  const create = trpc.apps.create.useMutation();
  const failure = failureOf(create.error);
  const made = create.data;

  function change(next: boolean) {
    setOpen(next);
    if (next) return;
    create.reset();
    form.reset();
  }

  return (
    <>
      <Button kind={kind} onClick={() => setOpen(true)}>
        New app
      </Button>
      {made === undefined ? (
        <Dialog
          open={open}
          onOpenChange={change}
          title="New app"
          description="People see the name and the site when they connect their wallet. Everything can be changed later."
        >
          <form onSubmit={form.handleSubmit((typed) => create.mutate(typed))} noValidate className="space-y-4">
            {failure.message !== null && <FormError>{failure.message}</FormError>}
            <TextField
              label="Name"
              placeholder="Acme Chat"
              maxLength={80}
              autoComplete="off"
              error={errors.name?.message ?? failure.fields.name}
              {...form.register("name")}
            />
            <TextField
              label="Site"
              type="url"
              placeholder="https://acme.chat"
              optional
              autoComplete="off"
              error={errors.siteUrl?.message ?? failure.fields.siteUrl}
              {...form.register("siteUrl")}
            />
            <DialogActions>
              <Button onClick={() => change(false)}>Cancel</Button>
              <Button type="submit" kind="primary" unavailable={create.isPending}>
                {create.isPending ? "Creating" : "Create app"}
              </Button>
            </DialogActions>
          </form>
        </Dialog>
      ) : (
        <SecretDialog
          title={`${made.app.name} is registered`}
          what="the client secret"
          label="Client secret"
          secret={made.clientSecret}
          onSaved={() => router.push(`/dashboard/${made.app.id}/get-started`)}
        >
          <CopyBox label="Client id" text={made.app.clientId} />
          <p className="text-sm text-soft">
            Both are for connecting wallets, later. If you lose the secret, the settings make a new one. API keys come next.
          </p>
        </SecretDialog>
      )}
    </>
  );
}
