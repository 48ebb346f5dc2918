"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, type RefObject, useState } from "react";
import { creditsOf, exactDollars } from "#money";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Choice, Choices } from "#ui/choice.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { Money } from "#ui/money.tsx";
import type { Link } from "./connected-app.tsx";

type Props = { link: Link; onClose: () => void; returnFocusTo: RefObject<HTMLElement | null> };

/** Closes the dialog and renders the page again, which shows the change. */
function useDone(onClose: () => void) {
  const router = useRouter();
  return {
    onSuccess: () => {
      onClose();
      router.refresh();
    },
  };
}

const onOpenChange = (onClose: () => void) => (open: boolean) => {
  if (!open) onClose();
};

export function LimitDialog({ link, onClose, returnFocusTo }: Props) {
  const save = trpc.wallet.setLimit.useMutation(useDone(onClose));
  const [limited, setLimited] = useState(link.limit !== null);
  const [typed, setTyped] = useState(link.limit === null ? "5.00" : exactDollars(link.limit).slice(1).replaceAll(",", ""));
  const [error, setError] = useState<string>();
  const failure = failureOf(save.error);

  function submit(event: FormEvent) {
    event.preventDefault();
    const monthlyLimit = limited ? creditsOf(typed) : null;
    if (limited && monthlyLimit === null) return setError("Write an amount of dollars, such as 5.00.");
    setError(undefined);
    save.mutate({ linkId: link.id, monthlyLimit });
  }

  return (
    <Dialog open onOpenChange={onOpenChange(onClose)} returnFocusTo={returnFocusTo} title={`Monthly limit for ${link.app.name}`}>
      <form onSubmit={submit} noValidate className="space-y-4">
        {failure.message !== null && <FormError>{failure.message}</FormError>}
        <p className="text-soft">
          It spent <Money credits={link.spent} className="font-medium text-ink" /> this month. At its limit it has to stop until the first
          day of the next month (UTC). A new limit holds from its next request on
          {link.connections > 1 ? ", for all your connections with it together." : "."}
        </p>
        <Choices legend="How much it may spend">
          <Choice type="radio" name="limited" checked={limited} onChange={() => setLimited(true)} title="Up to an amount a month" />
          <Choice
            type="radio"
            name="limited"
            checked={!limited}
            onChange={() => setLimited(false)}
            title="No limit"
            says="As much as the wallet has."
          />
        </Choices>
        {limited && (
          <TextField
            label="Dollars a month"
            inputMode="decimal"
            autoComplete="off"
            className="max-w-40"
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            error={error ?? failure.fields.monthlyLimit}
          />
        )}
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" unavailable={save.isPending}>
            {save.isPending ? "Saving" : "Save limit"}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

export function ModelsDialog({ link, onClose, returnFocusTo }: Props) {
  const save = trpc.wallet.setModels.useMutation(useDone(onClose));
  const models = trpc.wallet.models.useQuery(undefined, { refetchOnWindowFocus: false });
  const [any, setAny] = useState(link.allowedModels.length === 0);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set(link.allowedModels));
  const failure = failureOf(save.error ?? models.error);
  // Allowed models are listed first; they can be removed also when the server no longer has them.
  const now = new Set(link.allowedModels);
  const listed = models.data === undefined ? [] : [...now, ...models.data.map(({ id }) => id).filter((id) => !now.has(id))];

  function choose(id: string, on: boolean) {
    const next = new Set(chosen);
    if (on) next.add(id);
    else next.delete(id);
    setChosen(next);
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    if (any || chosen.size > 0) save.mutate({ linkId: link.id, allowedModels: any ? [] : [...chosen] });
  }

  return (
    <Dialog
      open
      onOpenChange={onOpenChange(onClose)}
      returnFocusTo={returnFocusTo}
      title={`Models for ${link.app.name}`}
      description={`From its next request on the app can use only what you allow here${link.connections > 1 ? ", in all your connections with it" : ""}.`}
    >
      <form onSubmit={submit} className="space-y-4">
        {failure.message !== null && <FormError>{failure.message}</FormError>}
        <Choices legend="Which models it may use">
          <Choice type="radio" name="any" checked={any} onChange={() => setAny(true)} title="Any model" />
          <Choice type="radio" name="any" checked={!any} onChange={() => setAny(false)} title="Only these" />
        </Choices>
        {!any && (
          <fieldset className="max-h-64 overflow-y-auto rounded-md border border-line p-1">
            <legend className="sr-only">Models allowed</legend>
            {models.isPending && <p className="px-2 py-1.5 text-sm text-soft">Loading</p>}
            {listed.map((id) => (
              <label key={id} className="flex items-center gap-3 rounded px-2 py-1.5 text-sm hover:bg-sunken">
                <input
                  type="checkbox"
                  checked={chosen.has(id)}
                  onChange={(event) => choose(id, event.target.checked)}
                  className="size-4 accent-accent"
                />
                <code className="font-mono text-[0.8125rem] [overflow-wrap:anywhere]">{id}</code>
              </label>
            ))}
          </fieldset>
        )}
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" unavailable={save.isPending} disabled={!any && chosen.size === 0}>
            {save.isPending ? "Saving" : "Save models"}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

export function DisconnectDialog({ link, onClose, returnFocusTo }: Props) {
  const end = trpc.wallet.disconnect.useMutation(useDone(onClose));
  const failure = failureOf(end.error);
  return (
    <Dialog
      open
      onOpenChange={onOpenChange(onClose)}
      returnFocusTo={returnFocusTo}
      title={`Disconnect ${link.app.name}`}
      description={
        link.connections > 1
          ? `This ends the connection as ${link.externalUserId}. ${link.connections === 2 ? "The other connection" : `The ${link.connections - 1} other connections`} with this app ${link.connections === 2 ? "is" : "are"} not ended by this${link.limit === null ? "" : ", and the same limit holds"}; to stop it altogether, disconnect every one of them. What it spent stays in your statement.`
          : "From its next request on it can't spend from your wallet or see your balance. What it spent stays in your statement. To use it again, connect your wallet there."
      }
    >
      <div className="space-y-4">
        {failure.message !== null && <FormError>{failure.message}</FormError>}
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="danger" unavailable={end.isPending} onClick={() => end.mutate({ linkId: link.id })}>
            {end.isPending ? "Disconnecting" : "Disconnect"}
          </Button>
        </DialogActions>
      </div>
    </Dialog>
  );
}
