"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { TypedConfirmation } from "#ui/typed-confirmation.tsx";

type Props = { app: { id: string; name: string }; linkedUsers: number; proofNeeded: "password" | "sign-in" | null };

/** Asks for the app's name, because a deleted app cannot be restored, and for a proof of identity. */
export function DeleteApp({ app, linkedUsers, proofNeeded }: Props) {
  const [open, setOpen] = useState(false);
  const router = useRouter();
  const remove = trpc.apps.delete.useMutation({
    onSuccess: () => {
      router.push("/dashboard");
      router.refresh();
    },
  });
  const failure = failureOf(remove.error);

  function close() {
    setOpen(false);
    remove.reset();
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
        <TypedConfirmation
          expected={app.name}
          action={remove.isPending ? "Deleting" : "Delete app"}
          busy={remove.isPending || remove.isSuccess}
          failure={failure.message}
          proof={{ needed: proofNeeded, signInAt: `/sign-in?again=1&callbackUrl=${encodeURIComponent(`/dashboard/${app.id}/settings`)}` }}
          onConfirm={(typed, password) => remove.mutate({ appId: app.id, confirm: typed, password })}
          onCancel={close}
        />
      </Dialog>
    </>
  );
}
