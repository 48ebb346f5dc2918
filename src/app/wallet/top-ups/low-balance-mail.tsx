"use client";

import { useState } from "react";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Card } from "#ui/card.tsx";
import { FormError } from "#ui/field.tsx";
import { useReady } from "#ui/use-ready.ts";

/** Saved on each change of the checkbox. */
export function LowBalanceMail({ on }: { on: boolean }) {
  const [wanted, setWanted] = useState(on);
  const save = trpc.payments.setLowBalanceMail.useMutation({ onError: () => setWanted(!wanted) });
  const ready = useReady();
  const failure = failureOf(save.error);
  return (
    <Card className="p-4 sm:p-5">
      <label className="flex gap-3">
        <input
          type="checkbox"
          checked={wanted}
          aria-disabled={save.isPending}
          disabled={!ready}
          onChange={(event) => {
            if (save.isPending) return;
            setWanted(event.target.checked);
            save.mutate({ on: event.target.checked });
          }}
          className="mt-1 size-4 accent-accent"
        />
        <span>
          <span className="block font-medium">Mail me when my balance is low</span>
          <span className="block text-sm leading-5 text-soft">Once each time it falls, so that no app stops without a word.</span>
        </span>
      </label>
      {failure.message !== null && (
        <div className="mt-3">
          <FormError>{failure.message}</FormError>
        </div>
      )}
    </Card>
  );
}
