"use client";

import { type FormEvent, useRef, useState } from "react";
import { dollars } from "#money";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { FormError } from "#ui/field.tsx";
import { useReady } from "#ui/use-ready.ts";

type Offer = Answers["payments"]["offer"];

export function AddCreditsButton({ offer, returnTo }: { offer: Offer; returnTo: string }) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  return (
    <>
      {/* Before hydration the button submits to the page with the same form. */}
      <form
        action="/wallet/add"
        onSubmit={(event) => {
          event.preventDefault();
          setOpen(true);
        }}
      >
        <input type="hidden" name="returnTo" value={returnTo} />
        <Button ref={button} type="submit" kind="primary">
          Add credits
        </Button>
      </form>
      <Dialog open={open} onOpenChange={setOpen} title="Add credits" returnFocusTo={button}>
        <AddCreditsForm offer={offer} returnTo={returnTo} />
      </Dialog>
    </>
  );
}

/** Chooses a package and opens its checkout. */
export function AddCreditsForm({ offer, returnTo }: { offer: Offer; returnTo: string }) {
  const { packages, provider } = offer;
  const [chosen, setChosen] = useState(packages[Math.min(1, packages.length - 1)]?.id ?? "");
  const open = trpc.payments.checkout.useMutation({ onSuccess: ({ url }) => window.location.assign(url) });
  const failure = failureOf(open.error);
  const ready = useReady();
  // Still busy while the browser loads the checkout.
  const busy = open.isPending || open.isSuccess;

  if (provider === "none") {
    return (
      <p className="rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
        This server cannot take payments yet. Whoever runs it has to set STRIPE_SECRET_KEY.
      </p>
    );
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    if (!busy) open.mutate({ packageId: chosen, returnTo });
  }

  return (
    <form onSubmit={submit} className="space-y-5">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <fieldset disabled={!ready} className="grid grid-cols-2 gap-2">
        <legend className="sr-only">Amount</legend>
        {packages.map((each) => (
          <label
            key={each.id}
            className="flex cursor-pointer items-center gap-3 rounded-md border border-line px-4 py-3 has-checked:border-accent has-checked:bg-accent-wash has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent"
          >
            <input
              type="radio"
              name="package"
              value={each.id}
              checked={chosen === each.id}
              onChange={() => setChosen(each.id)}
              className="accent-accent outline-none"
            />
            <span className="text-lg font-semibold tabular-nums">{dollars(each.credits)}</span>
          </label>
        ))}
      </fieldset>
      <p className="text-sm text-soft">
        {provider === "sandbox"
          ? "This server has no payment provider: the next page is a sandbox, and no money moves."
          : "You pay on Stripe’s page and come back here. One dollar is 1,000,000 credits; they do not expire."}
      </p>
      <Button type="submit" kind="primary" unavailable={busy} disabled={!ready} className="w-full">
        {busy ? "Opening the checkout" : "Continue to checkout"}
      </Button>
    </form>
  );
}
