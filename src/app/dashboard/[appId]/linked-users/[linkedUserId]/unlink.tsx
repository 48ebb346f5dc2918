"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";

type Props = { appId: string; linkedUserId: string; externalUserId: string };

/** Asks for the id, because only the person can link again. */
export function Unlink({ appId, linkedUserId, externalUserId }: Props) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const router = useRouter();
  const unlink = trpc.linkedUsers.unlink.useMutation({
    onSuccess: () => {
      // Their page is gone; so are the pages that were kept of the list.
      router.replace(`/dashboard/${appId}/linked-users`);
      router.refresh();
    },
  });
  const failure = failureOf(unlink.error);
  const named = typed.trim() === externalUserId;

  function close() {
    setOpen(false);
    setTyped("");
    unlink.reset();
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    if (named) unlink.mutate({ appId, linkedUserId });
  }

  return (
    <>
      <Button onClick={() => setOpen(true)}>Unlink</Button>
      <Dialog
        open={open}
        onOpenChange={(next) => (next ? setOpen(true) : close())}
        title={`Unlink ${externalUserId}`}
        description="From now on requests that name this user are refused, and their tokens end. Their wallet and its credits stay theirs. Only they can link again, by connecting their wallet."
      >
        <form onSubmit={submit} className="space-y-4">
          {failure.message !== null && <FormError>{failure.message}</FormError>}
          <TextField
            label={`Type ${externalUserId} to go on`}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            spellCheck={false}
          />
          <DialogActions>
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" kind="danger" disabled={!named || unlink.isPending || unlink.isSuccess}>
              {unlink.isPending || unlink.isSuccess ? "Unlinking" : "Unlink user"}
            </Button>
          </DialogActions>
        </form>
      </Dialog>
    </>
  );
}
