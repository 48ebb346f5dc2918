"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useRef, useState } from "react";
import { overlaps } from "#server/trpc/fields.ts";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, SelectField } from "#ui/field.tsx";
import { TypedConfirmation } from "#ui/typed-confirmation.tsx";
import { OverlapField, overlapIn } from "../../overlap.tsx";
import { SigningSecret } from "../endpoint-dialog.tsx";
import type { Endpoint, EventTypes } from "../states.tsx";

type Props = { appId: string; endpoint: Endpoint };

/** Sends an event with sample data to this endpoint; the delivery appears in the log below. */
export function SendTestButton({ appId, endpoint, types }: Props & { types: EventTypes }) {
  const [open, setOpen] = useState(false);
  const utils = trpc.useUtils();
  const send = trpc.webhooks.sendTest.useMutation({
    onSuccess: async () => {
      setOpen(false);
      await utils.webhooks.deliveries.invalidate();
    },
  });
  const failure = failureOf(send.error);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const type = String(new FormData(event.currentTarget).get("type")) as EventTypes[number]["type"];
    send.mutate({ appId, endpointId: endpoint.id, type });
  }

  return (
    <>
      <Button
        kind="primary"
        onClick={() => setOpen(true)}
        disabled={endpoint.disabledAt !== null}
        title={endpoint.disabledAt === null ? undefined : "The endpoint is disabled. Enable it first."}
      >
        Send a test event
      </Button>
      <Dialog
        open={open}
        onOpenChange={(next) => {
          setOpen(next);
          send.reset();
        }}
        title="Send a test event"
        description="It has sample data, and is signed, delivered and repeated like any other."
      >
        <form onSubmit={submit} className="space-y-4">
          {failure.message !== null && <FormError>{failure.message}</FormError>}
          <SelectField label="Event" name="type" defaultValue={endpoint.events[0]}>
            {types.map(({ type }) => (
              <option key={type}>{type}</option>
            ))}
          </SelectField>
          <DialogActions>
            <Button onClick={() => setOpen(false)}>Cancel</Button>
            <Button type="submit" kind="primary" unavailable={send.isPending}>
              {send.isPending ? "Sending" : "Send event"}
            </Button>
          </DialogActions>
        </form>
      </Dialog>
    </>
  );
}

/** Shows the signing secret, and rotates it with an overlap. */
export function SecretButtons({ appId, endpoint }: Props) {
  const [rotating, setRotating] = useState(false);
  const showButton = useRef<HTMLButtonElement>(null);
  const rotateButton = useRef<HTMLButtonElement>(null);
  const router = useRouter();
  const reveal = trpc.webhooks.revealSecret.useMutation();
  const rotate = trpc.webhooks.rotateSecret.useMutation({ onSuccess: () => setRotating(false) });
  const failure = failureOf(reveal.error);
  const rotateFailure = failureOf(rotate.error);
  const secret = rotate.data?.secret ?? reveal.data?.secret;

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    rotate.mutate({ appId, endpointId: endpoint.id, overlapMs: overlaps[overlapIn(event.currentTarget)].ms });
  }

  return (
    <>
      <Button
        ref={showButton}
        size="small"
        onClick={() => reveal.mutate({ appId, endpointId: endpoint.id })}
        unavailable={reveal.isPending}
      >
        Show secret
      </Button>
      <Button ref={rotateButton} size="small" onClick={() => setRotating(true)}>
        Rotate secret
      </Button>
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <Dialog
        open={rotating}
        onOpenChange={(next) => {
          setRotating(next);
          rotate.reset();
        }}
        title="Rotate the signing secret"
        description="Deliveries are signed with a new secret. So that nothing is missed while your server changes over, the present one can sign too for a while."
      >
        <form onSubmit={submit} className="space-y-4">
          {rotateFailure.message !== null && <FormError>{rotateFailure.message}</FormError>}
          <OverlapField label="The present secret goes on signing" />
          <DialogActions>
            <Button onClick={() => setRotating(false)}>Cancel</Button>
            <Button type="submit" kind="primary" unavailable={rotate.isPending}>
              {rotate.isPending ? "Rotating" : "Make a new secret"}
            </Button>
          </DialogActions>
        </form>
      </Dialog>
      {secret !== undefined && (
        <SigningSecret
          title={rotate.data === undefined ? "The signing secret" : "The new signing secret"}
          secret={secret}
          returnFocusTo={rotate.data === undefined ? showButton : rotateButton}
          onClose={() => {
            reveal.reset();
            rotate.reset();
            router.refresh();
          }}
        />
      )}
    </>
  );
}

export function EnableButton({ appId, endpoint }: Props) {
  const router = useRouter();
  const enabled = endpoint.disabledAt === null;
  const update = trpc.webhooks.update.useMutation({ onSuccess: () => router.refresh() });
  const failure = failureOf(update.error);
  return (
    <>
      <Button
        size="small"
        onClick={() => update.mutate({ appId, endpointId: endpoint.id, enabled: !enabled })}
        unavailable={update.isPending}
        title={enabled ? "Nothing is sent while it is disabled, and what is on its way is given up." : undefined}
      >
        {enabled ? "Disable" : "Enable"}
      </Button>
      {failure.message !== null && <FormError>{failure.message}</FormError>}
    </>
  );
}

/** Asks for the endpoint's host, because removing it deletes its deliveries. */
export function RemoveButton({ appId, endpoint }: Props) {
  const [open, setOpen] = useState(false);
  const router = useRouter();
  const { host } = new URL(endpoint.url);
  const remove = trpc.webhooks.remove.useMutation({
    onSuccess: () => {
      router.push(`/dashboard/${appId}/webhooks`);
      router.refresh();
    },
  });
  const failure = failureOf(remove.error);

  return (
    <>
      <Button size="small" onClick={() => setOpen(true)}>
        Remove
      </Button>
      <Dialog
        open={open}
        onOpenChange={(next) => {
          setOpen(next);
          remove.reset();
        }}
        title="Remove this endpoint"
        description="Nothing is sent there any more, and the record of its deliveries is gone. This cannot be undone."
      >
        <TypedConfirmation
          expected={host}
          action={remove.isPending ? "Removing" : "Remove endpoint"}
          busy={remove.isPending || remove.isSuccess}
          failure={failure.message}
          onConfirm={() => remove.mutate({ appId, endpointId: endpoint.id })}
          onCancel={() => setOpen(false)}
        />
      </Dialog>
    </>
  );
}
