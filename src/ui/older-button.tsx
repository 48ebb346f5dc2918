import { Button } from "./button.tsx";

/** The end of a list that may go on. */
export function OlderButton({ more, state, showOlder }: { more: boolean; state: "ready" | "loading" | "failed"; showOlder: () => void }) {
  if (!more) return null;
  return (
    <div className="mt-4 flex flex-col items-center gap-2">
      {state === "failed" && (
        <p role="alert" className="text-sm text-danger">
          The next page did not arrive. Try again.
        </p>
      )}
      <Button onClick={showOlder} disabled={state === "loading"}>
        {state === "loading" ? "Loading" : "Show older"}
      </Button>
    </div>
  );
}
