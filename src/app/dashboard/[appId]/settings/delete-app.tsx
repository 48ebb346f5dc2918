"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";

/** Asks for the app's name, because a deleted app cannot be brought back. */
export function DeleteApp({ app, linkedUsers }: { app: { id: string; name: string }; linkedUsers: number }) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const router = useRouter();
  const remove = trpc.apps.delete.useMutation({
    onSuccess: () => {
      router.push("/dashboard");
      router.refresh();
    },
  });
  const failure = failureOf(remove.error);
  const meant = typed.trim() === app.name;

  function close() {
    setOpen(false);
    setTyped("");
    remove.reset();
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    if (meant) remove.mutate({ appId: app.id, confirm: typed });
  }

  const people = linkedUsers === 0 ? "" : linkedUsers === 1 ? " One person is disconnected." : ` ${linkedUsers} people are disconnected.`;
  return (
    <>
      <Button onClick={() => setOpen(true)}>Delete app</Button>
      <Dialog
        open={open}
        onOpenChange={(next) => (next ? setOpen(true) : close())}
        title={`Delete ${app.name}`}
        description={`From now on its keys, its client and all tokens are refused.${people} This cannot be undone.`}
      >
        <form onSubmit={submit} className="space-y-4">
          {failure.message !== null && <FormError>{failure.message}</FormError>}
          <TextField
            label={`Type ${app.name} to go on`}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            spellCheck={false}
          />
          <DialogActions>
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" kind="danger" disabled={!meant || remove.isPending || remove.isSuccess}>
              {remove.isPending ? "Deleting" : "Delete app"}
            </Button>
          </DialogActions>
        </form>
      </Dialog>
    </>
  );
}
