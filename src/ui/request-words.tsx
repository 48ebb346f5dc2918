import { Badge } from "./badge.tsx";

/** Display names of the ledger's and the gateway's terms. */

export const billingModes = {
  user: {
    name: "Linked user",
    says: "The linked user pays. Every request has to name one.",
  },
  developer: {
    name: "Developer",
    says: "You pay from your own wallet. Where a request names a linked user, that person pays.",
  },
  test: {
    name: "Sandbox",
    says: "Nobody pays. A simulator answers, with play credits.",
  },
} as const;

const outcomes = {
  completed: { name: "Completed", tone: "plain", says: "Answered and billed." },
  interrupted: { name: "Interrupted", tone: "warning", says: "The client hung up. What had been delivered was billed." },
  failed: { name: "Failed", tone: "bad", says: "It failed, and nothing was billed." },
  swept: { name: "Abandoned", tone: "bad", says: "The server stopped in the middle of it. The credits went back, and nothing was billed." },
} as const;

/** `completed` is shown without a coloured badge. */
export function Outcome({ outcome }: { outcome: keyof typeof outcomes }) {
  if (outcome === "completed") return <span className="text-soft">{outcomes.completed.name}</span>;
  return <Badge tone={outcomes[outcome].tone}>{outcomes[outcome].name}</Badge>;
}

export function outcomeSays(outcome: keyof typeof outcomes): string {
  return outcomes[outcome].says;
}
