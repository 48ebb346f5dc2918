import type { Answers } from "#trpc/client.tsx";
import { Badge } from "#ui/badge.tsx";

export type Endpoint = Answers["webhooks"]["list"][number];
export type EventTypes = Answers["webhooks"]["eventTypes"];
export type Delivery = Answers["webhooks"]["deliveries"]["items"][number];

export function EndpointState({ endpoint }: { endpoint: Pick<Endpoint, "disabledAt" | "failingSince"> }) {
  if (endpoint.disabledAt !== null) return <Badge tone="bad">Disabled</Badge>;
  if (endpoint.failingSince !== null) return <Badge tone="warning">Failing</Badge>;
  return <Badge tone="good">Enabled</Badge>;
}

const states = {
  pending: { name: "On its way", tone: "plain" },
  succeeded: { name: "Arrived", tone: "good" },
  failed: { name: "Failed", tone: "bad" },
} as const;

export const deliveryStates = Object.entries(states).map(([status, { name }]) => ({ status, name }));

export function DeliveryState({ delivery }: { delivery: Pick<Delivery, "status" | "attempts"> }) {
  const { name, tone } = states[delivery.status as keyof typeof states];
  const retrying = delivery.status === "pending" && delivery.attempts > 0;
  return <Badge tone={retrying ? "warning" : tone}>{retrying ? "To be repeated" : name}</Badge>;
}
