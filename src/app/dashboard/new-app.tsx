"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { CopyBox, ShownOnce } from "#ui/copy-box.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";

export function NewAppButton({ kind }: { kind: "primary" | "secondary" }) {
  const [open, setOpen] = useState(false);
  const router = useRouter();
  const create = trpc.apps.create.useMutation();
  const failure = failureOf(create.error);
  const made = create.data;

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    create.mutate({ name: String(form.get("name")), siteUrl: String(form.get("siteUrl")).trim() || null });
  }

  function change(next: boolean) {
    setOpen(next);
    if (!next) create.reset();
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
          description="People see the name and the site when they connect their wallet."
        >
          <form onSubmit={submit} className="space-y-4">
            {failure.message !== null && <FormError>{failure.message}</FormError>}
            <TextField
              label="Name"
              name="name"
              placeholder="Acme Chat"
              maxLength={80}
              required
              autoComplete="off"
              error={failure.fields.name}
            />
            <TextField
              label="Site"
              name="siteUrl"
              type="url"
              placeholder="https://acme.chat"
              optional
              autoComplete="off"
              error={failure.fields.siteUrl}
            />
            <DialogActions>
              <Button onClick={() => change(false)}>Cancel</Button>
              <Button type="submit" kind="primary" disabled={create.isPending}>
                {create.isPending ? "Creating" : "Create app"}
              </Button>
            </DialogActions>
          </form>
        </Dialog>
      ) : (
        <Dialog open={open} onOpenChange={change} dismissible={false} title={`${made.app.name} is registered`}>
          <div className="space-y-4">
            <ShownOnce what="the client secret" />
            <CopyBox label="Client id" text={made.app.clientId} />
            <CopyBox label="Client secret" text={made.clientSecret} />
          </div>
          <DialogActions>
            <Button kind="primary" onClick={() => router.push(`/dashboard/${made.app.id}`)}>
              I have saved it
            </Button>
          </DialogActions>
        </Dialog>
      )}
    </>
  );
}
