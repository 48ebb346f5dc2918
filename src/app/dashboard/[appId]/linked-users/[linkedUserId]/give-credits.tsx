"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { creditsOf } from "#money";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { Money } from "#ui/money.tsx";

type Props = {
  appId: string;
  linkedUserId: string;
  externalUserId: string;
  /** Identifies this gift: however often the form is sent, it is given once. */
  giftId: string;
  /** Credits available in the developer's own wallet. */
  available: bigint;
  paused: boolean;
};

export function GiveCredits({ appId, linkedUserId, externalUserId, giftId, available, paused }: Props) {
  const [open, setOpen] = useState(false);
  const [problem, setProblem] = useState<string>();
  const router = useRouter();
  const fund = trpc.linkedUsers.fund.useMutation();
  const failure = failureOf(fund.error);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const amount = creditsOf(String(form.get("amount")));
    if (amount === null || amount === 0n) return setProblem("Write an amount in dollars, such as 5 or 0.50.");
    if (amount > available) return setProblem("That is more than your wallet has.");
    setProblem(undefined);
    fund.mutate({ appId, linkedUserId, giftId, amount, description: String(form.get("description")) || undefined });
  }

  function close() {
    setOpen(false);
    setProblem(undefined);
    fund.reset();
    // The next gift needs a new id, and the balance has changed; also when the answer was lost.
    if (fund.isSuccess || fund.isError) router.refresh();
  }

  return (
    <>
      <Button
        kind="primary"
        onClick={() => setOpen(true)}
        disabled={paused}
        title={paused ? "The link is paused by its owner." : undefined}
      >
        Give credits
      </Button>
      <Dialog
        open={open}
        onOpenChange={(next) => (next ? setOpen(true) : close())}
        title={fund.isSuccess ? "Credits given" : `Give credits to ${externalUserId}`}
        description={
          fund.isSuccess ? (
            <>
              <Money credits={fund.variables.amount} /> went from your wallet to theirs.
            </>
          ) : (
            "They become theirs, for any app, and cannot be taken back."
          )
        }
      >
        {fund.isSuccess ? (
          <DialogActions>
            <Button kind="primary" onClick={close}>
              Done
            </Button>
          </DialogActions>
        ) : (
          <form onSubmit={submit} className="space-y-4" noValidate>
            {failure.message !== null && <FormError>{failure.message}</FormError>}
            <TextField
              label="Amount in dollars"
              name="amount"
              inputMode="decimal"
              autoComplete="off"
              placeholder="5.00"
              required
              hint={
                <>
                  Your wallet has <Money credits={available} />.
                </>
              }
              error={problem ?? failure.fields.amount}
            />
            <TextField
              label="Note"
              name="description"
              optional
              maxLength={200}
              autoComplete="off"
              hint="They see it in their activity."
              error={failure.fields.description ?? failure.fields.giftId}
            />
            <DialogActions>
              <Button onClick={close}>Cancel</Button>
              <Button type="submit" kind="primary" unavailable={fund.isPending}>
                {fund.isPending ? "Giving" : "Give"}
              </Button>
            </DialogActions>
          </form>
        )}
      </Dialog>
    </>
  );
}
