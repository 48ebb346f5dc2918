import { caller } from "#server/trpc/caller.ts";
import { AddCreditsButton, AddCreditsForm } from "./add-credits-form.tsx";

/** The button that opens the top-up dialog for the signed-in user; a checkout returns to `returnTo`, a path on this server. */
export async function AddCredits({ returnTo }: { returnTo: string }) {
  return <AddCreditsButton offer={await (await caller()).payments.offer()} returnTo={returnTo} />;
}

/** The form without a dialog, for a page of its own. */
export async function AddCreditsHere({ returnTo }: { returnTo: string }) {
  return <AddCreditsForm offer={await (await caller()).payments.offer()} returnTo={returnTo} />;
}
