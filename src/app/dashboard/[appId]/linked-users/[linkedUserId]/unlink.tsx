"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Dialog } from "#ui/dialog.tsx";
import { TypedConfirmation } from "#ui/typed-confirmation.tsx";

type Props = { appId: string; linkedUserId: string; externalUserId: string };

/** Asks for the external id, because only the user can link again. */
export function Unlink({ appId, linkedUserId, externalUserId }: Props) {
  const [open, setOpen] = useState(false);
  const router = useRouter();
  const unlink = trpc.linkedUsers.unlink.useMutation({
    onSuccess: () => {
      // The linked user's page is gone, and cached pages of the list are stale.
      router.replace(`/dashboard/${appId}/linked-users`);
      router.refresh();
    },
  });
  const failure = failureOf(unlink.error);

  function close() {
    setOpen(false);
    unlink.reset();
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
        <TypedConfirmation
          expected={externalUserId}
          action={unlink.isPending || unlink.isSuccess ? "Unlinking" : "Unlink user"}
          busy={unlink.isPending || unlink.isSuccess}
          failure={failure.message}
          onConfirm={() => unlink.mutate({ appId, linkedUserId })}
          onCancel={close}
        />
      </Dialog>
    </>
  );
}
