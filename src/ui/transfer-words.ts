/** The name of a transfer in a statement, by its reason. */
export const transferWords = {
  top_up: "Credits added",
  grant: "Credits given by Quota",
  funding: "Credits from an app",
  allowance: "Allowance",
  refund: "Refund",
  correction: "Correction",
  payout: "Payout",
} as const;
