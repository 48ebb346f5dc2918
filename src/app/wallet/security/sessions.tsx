"use client";

import { signOut } from "next-auth/react";
import { useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { FormError } from "#ui/field.tsx";
import { TypedConfirmation } from "#ui/typed-confirmation.tsx";

/** Deletes the session's cookie and loads a public page. */
async function leaveTo(path: string): Promise<void> {
  await signOut({ redirect: false }).catch(() => {});
  window.location.assign(path);
}

export function SignOutEverywhere() {
  const end = trpc.account.signOutEverywhere.useMutation({ onSuccess: () => leaveTo("/sign-in") });
  const failure = failureOf(end.error);
  return (
    <div className="space-y-2">
      <Button onClick={() => end.mutate()} unavailable={end.isPending || end.isSuccess}>
        Sign out everywhere
      </Button>
      {failure.message !== null && <FormError>{failure.message}</FormError>}
    </div>
  );
}

/** Asks for the email, because a deleted account cannot be restored, and for a proof of identity. */
export function DeleteAccount({ email, proofNeeded }: { email: string; proofNeeded: "password" | "sign-in" | null }) {
  const [open, setOpen] = useState(false);
  const remove = trpc.account.delete.useMutation({ onSuccess: () => leaveTo("/") });
  const failure = failureOf(remove.error);

  function close() {
    setOpen(false);
    remove.reset();
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
        <TypedConfirmation
          expected={email}
          ignoreCase
          action={remove.isPending ? "Deleting" : "Delete account"}
          busy={remove.isPending || remove.isSuccess}
          failure={failure.message}
          proof={{ needed: proofNeeded, signInAt: "/sign-in?again=1&callbackUrl=/wallet/security" }}
          onConfirm={(typed, password) => remove.mutate({ confirm: typed, password })}
          onCancel={close}
        />
      </Dialog>
    </>
  );
}
