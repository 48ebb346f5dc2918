"use client";

import { useState } from "react";
import { Button } from "./button.tsx";
import { KeepFocus } from "./keep-focus.tsx";

/** The button at the end of a list that loads the next page. */
export function OlderButton({ more, state, showOlder }: { more: boolean; state: "ready" | "loading" | "failed"; showOlder: () => void }) {
  const [pressed, setPressed] = useState(false);
  if (!more && !pressed) return null;
  return (
    <KeepFocus className="mt-4 flex flex-col items-center gap-2">
      {state === "failed" && (
        <p role="alert" className="text-sm text-danger">
          The next page did not arrive. Try again.
        </p>
      )}
      {more ? (
        <Button
          onClick={() => {
            setPressed(true);
            showOlder();
          }}
          unavailable={state === "loading"}
        >
          {state === "loading" ? "Loading" : "Show older"}
        </Button>
      ) : (
        <p className="text-sm text-soft">There is nothing older.</p>
      )}
    </KeepFocus>
  );
}
