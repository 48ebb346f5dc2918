"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useRef, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod";
import * as fields from "#server/trpc/fields.ts";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Choice, Choices } from "#ui/choice.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, SelectField, TextField } from "#ui/field.tsx";
import { billingModes } from "#ui/request-words.tsx";
import { SecretDialog } from "#ui/secret-dialog.tsx";

const modes = Object.keys(billingModes) as (keyof typeof billingModes)[];
const lifetimes = { "0": "Never", "7": "In 7 days", "30": "In 30 days", "90": "In 90 days", "365": "In a year" };
const DAY_MS = 24 * 60 * 60 * 1000;

const newKey = z.object({
  name: fields.name,
  billingMode: z.enum(["developer", "user", "test"], "Choose who pays."),
  days: z.enum(Object.keys(lifetimes) as [keyof typeof lifetimes]),
});

export function NewKeyButton({ appId }: { appId: string }) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const router = useRouter();
  const form = useForm({ resolver: zodResolver(newKey), defaultValues: { name: "", billingMode: "user" as const, days: "0" as const } });
  const { errors } = form.formState;
  const mint = trpc.apiKeys.mint.useMutation();
  const failure = failureOf(mint.error);
  const made = mint.data;

  const submit = form.handleSubmit(({ name, billingMode, days }) =>
    mint.mutate({ appId, name, billingMode, expiresAt: days === "0" ? null : new Date(Date.now() + Number(days) * DAY_MS) }),
  );

  function close() {
    setOpen(false);
    form.reset();
    mint.reset();
    // The list behind the dialog has a new row.
    if (made !== undefined) router.refresh();
  }

  return (
    <>
      <Button ref={button} kind="primary" onClick={() => setOpen(true)}>
        New API key
      </Button>
      {made === undefined ? (
        <Dialog open={open} onOpenChange={(next) => (next ? setOpen(true) : close())} title="New API key">
          <form onSubmit={submit} noValidate className="space-y-5">
            {failure.message !== null && <FormError>{failure.message}</FormError>}
            <TextField
              label="Name"
              placeholder="Production server"
              maxLength={80}
              autoComplete="off"
              error={errors.name?.message ?? failure.fields.name}
              {...form.register("name")}
            />
            <Choices legend="Who pays" error={errors.billingMode?.message}>
              {modes.map((mode) => (
                <Choice
                  key={mode}
                  type="radio"
                  value={mode}
                  title={billingModes[mode].name}
                  says={billingModes[mode].says}
                  {...form.register("billingMode")}
                />
              ))}
            </Choices>
            <SelectField label="Expires" error={errors.days?.message ?? failure.fields.expiresAt} {...form.register("days")}>
              {Object.entries(lifetimes).map(([days, words]) => (
                <option key={days} value={days}>
                  {words}
                </option>
              ))}
            </SelectField>
            <DialogActions>
              <Button onClick={close}>Cancel</Button>
              <Button type="submit" kind="primary" unavailable={mint.isPending}>
                {mint.isPending ? "Making the key" : "Make key"}
              </Button>
            </DialogActions>
          </form>
        </Dialog>
      ) : (
        <SecretDialog
          title={`The key “${made.key.name}”`}
          what="this key"
          label="API key"
          secret={made.secret}
          onSaved={close}
          returnFocusTo={button}
        />
      )}
    </>
  );
}
