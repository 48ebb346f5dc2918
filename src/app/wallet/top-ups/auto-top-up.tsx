"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, type ReactNode, useState } from "react";
import { creditsOf, dollars, exactDollars } from "#money";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";
import { Button } from "#ui/button.tsx";
import { Card } from "#ui/card.tsx";
import { FormError, SelectField, TextField } from "#ui/field.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";
import { Money } from "#ui/money.tsx";
import { useReady } from "#ui/use-ready.ts";

type Settings = Answers["payments"]["settings"];
type Offer = Answers["payments"]["offer"];

/** Automatic top-ups: the current settings, and a form that changes them. */
export function AutoTopUp({ settings, offer }: { settings: Settings; offer: Offer }) {
  const [editing, setEditing] = useState(false);
  const [edited, setEdited] = useState(false);
  const router = useRouter();
  const done = {
    onSuccess: () => {
      setEditing(false);
      router.refresh();
    },
  };
  const stop = trpc.payments.stopAutoTopUp.useMutation(done);
  const remove = trpc.payments.removeCard.useMutation(done);
  const failure = failureOf(stop.error ?? remove.error);
  const ready = useReady();
  const busy = stop.isPending || remove.isPending;

  function edit() {
    setEditing(true);
    // When the form closes, the button that opened it gets the focus.
    setEdited(true);
  }

  if (offer.provider !== "stripe") {
    return (
      <Card className="p-4 sm:p-5">
        <p className="text-soft">They charge a saved card, so they need a payment provider, and this server has none.</p>
      </Card>
    );
  }
  return (
    <Card className="p-4 sm:p-5" aria-label="Automatic top-ups">
      <KeepFocus>
        <div className="flex flex-wrap items-start justify-between gap-3">
          <div className="min-w-0 flex-1 basis-64">
            <p className="flex items-center gap-2 font-medium">
              {settings.state === "off" ? "They are off" : "Add credits when my balance is low"}
              <State state={settings.state} />
            </p>
            <p className="mt-0.5 text-sm leading-5 text-soft">
              <InWords settings={settings} />
            </p>
          </div>
          {!editing && (
            <div className="flex gap-2">
              {settings.state !== "off" && (
                <Button size="small" unavailable={busy} disabled={!ready} onClick={() => stop.mutate()}>
                  Turn off
                </Button>
              )}
              <Button size="small" unavailable={busy} disabled={!ready} autoFocus={edited} onClick={edit}>
                {settings.state === "off" ? "Set up" : settings.state === "on" ? "Change" : "Turn on again"}
              </Button>
            </div>
          )}
        </div>
        {settings.problem !== null && <Problem problem={settings.problem} wentBack={settings.wentBack} />}
        {failure.message !== null && (
          <div className="mt-3">
            <FormError>{failure.message}</FormError>
          </div>
        )}
        {settings.card !== null && (
          <p className="mt-3 flex items-center justify-between gap-3 border-t border-line pt-3 text-sm">
            <span>
              <span className="text-soft">Saved card</span> {settings.card}
            </span>
            <Button size="small" kind="quiet" unavailable={busy} disabled={!ready} onClick={() => remove.mutate()}>
              Remove card
            </Button>
          </p>
        )}
        {editing && <Form settings={settings} packages={offer.packages} onDone={done.onSuccess} onCancel={() => setEditing(false)} />}
      </KeepFocus>
    </Card>
  );
}

function State({ state }: { state: Settings["state"] }) {
  if (state === "on") return <Badge tone="good">On</Badge>;
  if (state === "waiting_for_card") return <Badge tone="warning">Waits for a card</Badge>;
  return state === "stopped" ? <Badge tone="bad">Stopped</Badge> : null;
}

/** Why automatic top-ups stopped: a charge failed, or a top-up was refunded or disputed. */
function Problem({ problem, wentBack }: { problem: string; wentBack: boolean }) {
  if (wentBack) {
    return (
      <p role="status" className="mt-3 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
        {problem} No card is charged by itself until you turn them on again.
      </p>
    );
  }
  return (
    <p role="alert" className="mt-3 rounded-md bg-danger-wash px-3 py-2 text-sm text-danger">
      The last one did not work, and nothing was charged. {problem} Add credits yourself, or turn them on again.
    </p>
  );
}

function InWords({ settings }: { settings: Settings }): ReactNode {
  const { state, threshold, amount, monthlyMaximum, addedThisMonth } = settings;
  if (state === "off" || threshold === null || amount === null || monthlyMaximum === null)
    return "A saved card adds credits when your balance falls below an amount that you choose, up to a monthly maximum.";
  return (
    <>
      Below <Money credits={threshold} /> add <Money credits={amount} />, at most <Money credits={monthlyMaximum} /> a month (UTC).{" "}
      {addedThisMonth + amount > monthlyMaximum ? (
        <>
          This month’s maximum is used up: <Money credits={addedThisMonth} /> were added.
        </>
      ) : (
        <>
          <Money credits={addedThisMonth} /> added this month.
        </>
      )}
    </>
  );
}

type FormProps = { settings: Settings; packages: Offer["packages"]; onDone: () => void; onCancel: () => void };

function Form({ settings, packages, onDone, onCancel }: FormProps) {
  const [threshold, setThreshold] = useState(typed(settings.threshold, "2.00"));
  const [packageId, setPackageId] = useState(settings.packageId ?? packages[Math.min(1, packages.length - 1)]?.id ?? "");
  const [maximum, setMaximum] = useState(typed(settings.monthlyMaximum, "50.00"));
  const [errors, setErrors] = useState<{ threshold?: string; monthlyMaximum?: string }>({});
  const start = trpc.payments.startAutoTopUp.useMutation({
    onSuccess: ({ url }) => (url === null ? onDone() : window.location.assign(url)),
  });
  const failure = failureOf(start.error);
  const busy = start.isPending || (start.isSuccess && start.data.url !== null);
  const amount = packages.find((each) => each.id === packageId)?.credits ?? 0n;

  function submit(event: FormEvent) {
    event.preventDefault();
    const below = creditsOf(threshold);
    const monthlyMaximum = creditsOf(maximum);
    const say = "Write an amount of dollars, such as 5.00.";
    setErrors({
      ...(below === null || below === 0n ? { threshold: say } : {}),
      ...(monthlyMaximum === null || monthlyMaximum === 0n ? { monthlyMaximum: say } : {}),
    });
    if (below === null || below === 0n || monthlyMaximum === null || monthlyMaximum === 0n) return;
    start.mutate({ threshold: below, packageId, monthlyMaximum });
  }

  return (
    <form onSubmit={submit} noValidate className="mt-4 space-y-4 border-t border-line pt-4">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <div className="grid gap-4 sm:grid-cols-3">
        <TextField
          label="When below"
          autoFocus
          inputMode="decimal"
          autoComplete="off"
          value={threshold}
          onChange={(event) => setThreshold(event.target.value)}
          error={errors.threshold ?? failure.fields.threshold}
          hint="Dollars"
        />
        <SelectField label="Add" value={packageId} onChange={(event) => setPackageId(event.target.value)} hint="Each time">
          {packages.map((each) => (
            <option key={each.id} value={each.id}>
              {dollars(each.credits)}
            </option>
          ))}
        </SelectField>
        <TextField
          label="At most a month"
          inputMode="decimal"
          autoComplete="off"
          value={maximum}
          onChange={(event) => setMaximum(event.target.value)}
          error={errors.monthlyMaximum ?? failure.fields.monthlyMaximum}
          hint="Dollars"
        />
      </div>
      <p className="text-sm text-soft">
        {settings.card === null
          ? `You pay ${dollars(amount)} on Stripe’s page now. The card stays saved there, and is charged from then on when your balance falls.`
          : `If your balance is below that already, your card is charged ${dollars(amount)} at once.`}
      </p>
      <div className="flex flex-col-reverse gap-2 sm:flex-row sm:justify-end">
        <Button onClick={onCancel} disabled={busy}>
          Cancel
        </Button>
        <Button type="submit" kind="primary" unavailable={busy}>
          {busy ? "One moment" : settings.card === null ? `Pay ${dollars(amount)} and turn on` : "Save and turn on"}
        </Button>
      </div>
    </form>
  );
}

function typed(credits: bigint | null, otherwise: string): string {
  return credits === null ? otherwise : exactDollars(credits).slice(1).replaceAll(",", "");
}
