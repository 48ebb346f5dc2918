"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useId, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { CopyBox, ShownOnce } from "#ui/copy-box.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, SelectField, TextField } from "#ui/field.tsx";
import { billingModes } from "#ui/request-words.tsx";

const lifetimes = [
  { days: 0, words: "Never" },
  { days: 7, words: "In 7 days" },
  { days: 30, words: "In 30 days" },
  { days: 90, words: "In 90 days" },
  { days: 365, words: "In a year" },
];
type BillingMode = keyof typeof billingModes;

export function NewKeyButton({ appId }: { appId: string }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  const router = useRouter();
  const mint = trpc.apiKeys.mint.useMutation();
  const failure = failureOf(mint.error);
  const made = mint.data;

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const days = Number(form.get("days"));
    mint.mutate({
      appId,
      name: String(form.get("name")),
      billingMode: String(form.get("billingMode")) as BillingMode,
      expiresAt: days === 0 ? null : new Date(Date.now() + days * 24 * 60 * 60 * 1000),
    });
  }

  function close() {
    setOpen(false);
    mint.reset();
    // The list behind has a new row.
    if (made !== undefined) router.refresh();
  }

  return (
    <>
      <Button kind="primary" onClick={() => setOpen(true)}>
        New API key
      </Button>
      {made === undefined ? (
        <Dialog open={open} onOpenChange={(next) => (next ? setOpen(true) : close())} title="New API key">
          <form onSubmit={submit} className="space-y-5">
            {failure.message !== null && <FormError>{failure.message}</FormError>}
            <TextField
              label="Name"
              name="name"
              placeholder="Production server"
              maxLength={80}
              required
              autoComplete="off"
              error={failure.fields.name}
            />
            <fieldset>
              <legend className="mb-1.5 text-sm font-medium">Who pays</legend>
              <div className="space-y-2">
                {(Object.keys(billingModes) as BillingMode[]).map((mode, n) => (
                  <label
                    key={mode}
                    className="flex gap-3 rounded-md border border-line p-3 has-checked:border-accent has-checked:bg-accent-wash has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent"
                  >
                    <input
                      type="radio"
                      name="billingMode"
                      value={mode}
                      defaultChecked={n === 0}
                      aria-labelledby={`${id}-${mode}-name`}
                      aria-describedby={`${id}-${mode}-says`}
                      className="mt-1 accent-accent outline-none"
                    />
                    <span>
                      <span id={`${id}-${mode}-name`} className="block text-sm font-medium">
                        {billingModes[mode].name}
                      </span>
                      <span id={`${id}-${mode}-says`} className="block text-sm leading-5 text-soft">
                        {billingModes[mode].says}
                      </span>
                    </span>
                  </label>
                ))}
              </div>
            </fieldset>
            <SelectField label="Expires" name="days" error={failure.fields.expiresAt}>
              {lifetimes.map(({ days, words }) => (
                <option key={days} value={days}>
                  {words}
                </option>
              ))}
            </SelectField>
            <DialogActions>
              <Button onClick={close}>Cancel</Button>
              <Button type="submit" kind="primary" disabled={mint.isPending}>
                {mint.isPending ? "Making the key" : "Make key"}
              </Button>
            </DialogActions>
          </form>
        </Dialog>
      ) : (
        <Dialog open={open} onOpenChange={() => {}} dismissible={false} title={`The key “${made.key.name}”`}>
          <div className="space-y-4">
            <ShownOnce what="this key" />
            <CopyBox label="API key" text={made.secret} />
          </div>
          <DialogActions>
            <Button kind="primary" onClick={close}>
              I have saved it
            </Button>
          </DialogActions>
        </Dialog>
      )}
    </>
  );
}
