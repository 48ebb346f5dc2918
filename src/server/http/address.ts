import type { IncomingMessage } from "node:http";
import ipaddr from "ipaddr.js";

/**
 * The client's address. Each proxy appends the address of its peer to X-Forwarded-For, so only the last `proxies`
 * entries, which the operator's own proxies appended, can be trusted. Without a proxy, or when the entry is not an
 * address, the result is the connection's remote address. An IPv6 address is cut to its network (/64), because a
 * provider assigns a whole /64 to one customer.
 */
export function clientAddress(forwarded: string | undefined, remote: string | undefined, proxies: number): string {
  const entries = (forwarded ?? "").split(",").map((entry) => entry.trim());
  const trusted = proxies === 0 ? undefined : entries.at(-proxies);
  return network(trusted) ?? network(remote) ?? "unknown";
}

function network(address: string | undefined): string | null {
  if (address === undefined || !ipaddr.isValid(address)) return null;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === "ipv4") return parsed.toString();
  const parts = (parsed as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::`;
}

/** Replaces X-Forwarded-For with the client's address alone, which pages and the authorization server read from there. */
export function trustAddress(incoming: IncomingMessage, proxies: number): void {
  const forwarded = [incoming.headers["x-forwarded-for"] ?? ""].flat().join(",");
  incoming.headers["x-forwarded-for"] = clientAddress(forwarded, incoming.socket.remoteAddress, proxies);
}
