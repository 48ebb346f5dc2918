"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useRef, useState } from "react";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError } from "#ui/field.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";
import { SecretDialog } from "#ui/secret-dialog.tsx";
import { Time } from "#ui/time.tsx";
import { OverlapField, overlapIn } from "../overlap.tsx";

type App = Answers["apps"]["get"];

/** The client secret: its fragment, and rotating it with an overlap in which both secrets work. */
export function ClientSecret({ app }: { app: App }) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const router = useRouter();
  const rotate = trpc.apps.rotateSecret.useMutation();
  const end = trpc.apps.endFormerSecret.useMutation({ onSuccess: () => router.refresh() });
  const failure = failureOf(rotate.error);
  const endFailure = failureOf(end.error);
  const former = app.formerSecretEndsAt !== null && app.formerSecretEndsAt > new Date() ? app.formerSecretEndsAt : null;

  function close() {
    setOpen(false);
    rotate.reset();
    router.refresh();
  }

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    rotate.mutate({ appId: app.id, overlap: overlapIn(event.currentTarget) });
  }

  return (
    <KeepFocus>
      <p className="mb-1.5 text-sm font-medium">Client secret</p>
      <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2">
        <p className="text-sm text-soft">
          <code className="font-mono text-ink">{app.clientSecretFragment}</code>, shown once when it was made.
        </p>
        <Button ref={button} size="small" onClick={() => setOpen(true)}>
          Rotate secret
        </Button>
      </div>
      {former !== null && (
        <div className="mt-3 flex flex-wrap items-center justify-between gap-x-4 gap-y-2 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
          <p>
            The one before, <code className="font-mono">{app.formerSecretFragment}</code>, works until <Time at={former} />.
          </p>
          <Button size="small" onClick={() => end.mutate({ appId: app.id })} unavailable={end.isPending}>
            {end.isPending ? "Ending it" : "End it now"}
          </Button>
        </div>
      )}
      {endFailure.message !== null && <FormError>{endFailure.message}</FormError>}
      {rotate.data === undefined ? (
        <Dialog
          open={open}
          onOpenChange={(next) => (next ? setOpen(true) : close())}
          title="Rotate the client secret"
          description="You get a new secret. So that nobody is turned away while your servers change over, the present one can work beside it for a while."
        >
          <form onSubmit={submit} className="space-y-4">
            {failure.message !== null && <FormError>{failure.message}</FormError>}
            <OverlapField
              label="The present secret goes on working"
              hint={former === null ? undefined : `At most two work at a time: ${app.formerSecretFragment} ends now.`}
            />
            <DialogActions>
              <Button onClick={close}>Cancel</Button>
              <Button type="submit" kind="primary" unavailable={rotate.isPending}>
                {rotate.isPending ? "Rotating" : "Make a new secret"}
              </Button>
            </DialogActions>
          </form>
        </Dialog>
      ) : (
        <SecretDialog
          title="The new client secret"
          what="the client secret"
          label="Client secret"
          secret={rotate.data.clientSecret}
          onSaved={close}
          returnFocusTo={button}
        />
      )}
    </KeepFocus>
  );
}
