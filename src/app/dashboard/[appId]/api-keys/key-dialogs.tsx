"use client";

import { useRouter } from "next/navigation";
import type { FormEvent, RefObject } from "react";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError } from "#ui/field.tsx";
import { SecretDialog } from "#ui/secret-dialog.tsx";
import { Time } from "#ui/time.tsx";
import { TypedConfirmation } from "#ui/typed-confirmation.tsx";
import { OverlapField, overlapIn } from "../overlap.tsx";

export type ApiKey = Answers["apiKeys"]["list"][number];
type Props = { appId: string; apiKey: ApiKey; onClose: () => void; returnFocusTo: RefObject<HTMLElement | null> };

/** Replaces a key by a new one; the old key may keep working for a while. */
export function RollDialog({ appId, apiKey, onClose, returnFocusTo }: Props) {
  const router = useRouter();
  const roll = trpc.apiKeys.roll.useMutation();
  const failure = failureOf(roll.error);

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    roll.mutate({ appId, apiKeyId: apiKey.id, overlap: overlapIn(event.currentTarget) });
  }

  if (roll.data !== undefined)
    return (
      <SecretDialog
        title={`The new key “${apiKey.name}”`}
        what="this key"
        label="API key"
        secret={roll.data.secret}
        onSaved={() => {
          onClose();
          router.refresh();
        }}
        returnFocusTo={returnFocusTo}
      >
        <p className="text-sm text-soft">
          {roll.data.endsAt > new Date() ? (
            <>
              The old one, <code className="font-mono">{apiKey.fragment}</code>, works until <Time at={roll.data.endsAt} />.
            </>
          ) : (
            <>
              The old one, <code className="font-mono">{apiKey.fragment}</code>, is refused from now on.
            </>
          )}
        </p>
      </SecretDialog>
    );
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      returnFocusTo={returnFocusTo}
      title={`Roll “${apiKey.name}”`}
      description="You get a new key with the same name and the same payer. So that no request is refused while your servers change over, the present one can work beside it for a while."
    >
      <form onSubmit={submit} className="space-y-4">
        {failure.message !== null && <FormError>{failure.message}</FormError>}
        <OverlapField label={`${apiKey.fragment} goes on working`} />
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="primary" unavailable={roll.isPending}>
            {roll.isPending ? "Rolling" : "Roll key"}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

/** Asks for the key's name, because a revoked key cannot be brought back. */
export function RevokeDialog({ appId, apiKey, onClose, returnFocusTo }: Props) {
  const router = useRouter();
  const revoke = trpc.apiKeys.revoke.useMutation({
    onSuccess: () => {
      onClose();
      router.refresh();
    },
  });
  const failure = failureOf(revoke.error);

  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      returnFocusTo={returnFocusTo}
      title={`Revoke “${apiKey.name}”`}
      description={`From now on every request with ${apiKey.fragment} is refused. This cannot be undone.`}
    >
      <TypedConfirmation
        expected={apiKey.name}
        action={revoke.isPending ? "Revoking" : "Revoke key"}
        busy={revoke.isPending}
        failure={failure.message}
        onConfirm={() => revoke.mutate({ appId, apiKeyId: apiKey.id })}
        onCancel={onClose}
      />
    </Dialog>
  );
}
