"use client";

import { signOut } from "next-auth/react";
import { type FormEvent, useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";

/** Forgets the cookie, which opens nothing any more, and loads a page that everybody may see. */
async function leaveTo(path: string): Promise<void> {
  await signOut({ redirect: false }).catch(() => {});
  window.location.assign(path);
}

export function SignOutEverywhere() {
  const end = trpc.account.signOutEverywhere.useMutation({ onSuccess: () => leaveTo("/sign-in") });
  const failure = failureOf(end.error);
  return (
    <div className="space-y-2">
      <Button onClick={() => end.mutate()} disabled={end.isPending || end.isSuccess}>
        Sign out everywhere
      </Button>
      {failure.message !== null && <FormError>{failure.message}</FormError>}
    </div>
  );
}

/** Asks for the address, because a deleted account cannot be brought back. */
export function DeleteAccount({ email }: { email: string }) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const remove = trpc.account.delete.useMutation({ onSuccess: () => leaveTo("/") });
  const failure = failureOf(remove.error);
  const meant = typed.trim().toLowerCase() === email;

  function close() {
    setOpen(false);
    setTyped("");
    remove.reset();
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    if (meant) remove.mutate({ confirm: typed });
  }

  return (
    <>
      <Button onClick={() => setOpen(true)}>Delete account</Button>
      <Dialog
        open={open}
        onOpenChange={(next) => (next ? setOpen(true) : close())}
        title="Delete this account"
        description="Every app loses its access at once, your own apps stop, and credits that are left are lost. This cannot be undone."
      >
        <form onSubmit={submit} className="space-y-4">
          {failure.message !== null && <FormError>{failure.message}</FormError>}
          <TextField
            label={`Type ${email} to go on`}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            spellCheck={false}
          />
          <DialogActions>
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" kind="danger" disabled={!meant || remove.isPending || remove.isSuccess}>
              {remove.isPending ? "Deleting" : "Delete account"}
            </Button>
          </DialogActions>
        </form>
      </Dialog>
    </>
  );
}
