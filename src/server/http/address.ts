import type { IncomingMessage } from "node:http";
import ipaddr from "ipaddr.js";

/**
 * Where a request comes from. Every proxy adds at the end of X-Forwarded-For whom it
 * heard from, so of all that is in it only what the operator's own proxies added can
 * be believed: the last `proxies` entries. Without a proxy, or when an entry is no
 * address, it is the other end of the connection. Of IPv6 the network (/64), because
 * one customer has all the addresses in it.
 */
export function clientAddress(forwarded: string | undefined, remote: string | undefined, proxies: number): string {
  const heard = (forwarded ?? "").split(",").map((entry) => entry.trim());
  const claimed = proxies === 0 ? undefined : heard.at(-proxies);
  return network(claimed) ?? network(remote) ?? "unknown";
}

function network(address: string | undefined): string | null {
  if (address === undefined || !ipaddr.isValid(address)) return null;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === "ipv4") return parsed.toString();
  const parts = (parsed as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::`;
}

/** Leaves in the header one address, the one to believe, for all that reads it later. */
export function trustAddress(incoming: IncomingMessage, proxies: number): void {
  const forwarded = [incoming.headers["x-forwarded-for"] ?? ""].flat().join(",");
  incoming.headers["x-forwarded-for"] = clientAddress(forwarded, incoming.socket.remoteAddress, proxies);
}
