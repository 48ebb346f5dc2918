"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";

/** Asks for the key's name, because a revoked key cannot be brought back. */
export function RevokeButton({ appId, apiKey }: { appId: string; apiKey: { id: string; name: string; fragment: string } }) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const router = useRouter();
  const revoke = trpc.apiKeys.revoke.useMutation({
    onSuccess: () => {
      close();
      router.refresh();
    },
  });
  const failure = failureOf(revoke.error);
  const named = typed.trim() === apiKey.name;

  function close() {
    setOpen(false);
    setTyped("");
    revoke.reset();
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    if (named) revoke.mutate({ appId, apiKeyId: apiKey.id });
  }

  return (
    <>
      <Button size="small" onClick={() => setOpen(true)} aria-label={`Revoke ${apiKey.name}`}>
        Revoke
      </Button>
      <Dialog
        open={open}
        onOpenChange={(next) => (next ? setOpen(true) : close())}
        title={`Revoke “${apiKey.name}”`}
        description={`From now on every request with ${apiKey.fragment} is refused. This cannot be undone.`}
      >
        <form onSubmit={submit} className="space-y-4">
          {failure.message !== null && <FormError>{failure.message}</FormError>}
          <TextField
            label={`Type ${apiKey.name} to go on`}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            spellCheck={false}
          />
          <DialogActions>
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" kind="danger" disabled={!named || revoke.isPending}>
              {revoke.isPending ? "Revoking" : "Revoke key"}
            </Button>
          </DialogActions>
        </form>
      </Dialog>
    </>
  );
}
