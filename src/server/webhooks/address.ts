import { lookup } from "node:dns";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { Agent, buildConnector } from "undici";

/**
 * Deliveries may go to public addresses only (protection against SSRF): an endpoint's URL must not make this server call
 * hosts of its own network. The address that is connected to is checked, not the name: a connection resolves the name
 * once, checks every address of the answer, and connects to one of these.
 */
export type AddressRules = {
  /** Allows loopback addresses, for development and tests. */
  allowLoopback: boolean;
};

export class ForbiddenAddressError extends Error {
  constructor(host: string, address: string) {
    super(host === address ? `${address} is not a public address` : `${host} resolves to ${address}, which is not a public address`);
    this.name = "ForbiddenAddressError";
  }
}

/** True for an address on the public internet. An IPv4-mapped IPv6 address is checked as IPv4. */
export function isAllowedAddress(address: string, rules: AddressRules): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  const range = parsed.range();
  if (range === "loopback") return rules.allowLoopback && (parsed.kind() === "ipv4" || parsed.toNormalizedString() === "0:0:0:0:0:0:0:1");
  if (range !== "unicast" || METADATA_SERVICES.has(parsed.toString())) return false;
  // Public IPv6 addresses are in 2000::/3. Outside of it are forms that embed an IPv4 address, such as ::10.0.0.1.
  return parsed.kind() === "ipv4" || (parsed.toByteArray()[0] as number) >> 5 === 1;
}

/** Metadata services of clouds at addresses in public ranges: Azure's. They hand out credentials. */
const METADATA_SERVICES = new Set(["168.63.129.16"]);

/** The host of a URL without the brackets of an IPv6 address, as resolvers and sockets take it. */
function bare(hostname: string): string {
  return hostname.startsWith("[") && hostname.endsWith("]") ? hostname.slice(1, -1) : hostname;
}

type Resolved = { address: string; family: number };
export type Resolver = (hostname: string, answer: (error: Error | null, addresses: Resolved[]) => void) => void;

const systemResolver: Resolver = (hostname, answer) =>
  lookup(hostname, { all: true, verbatim: true }, (error, addresses) => answer(error, addresses ?? []));

/**
 * Why deliveries can't go to a URL, or null when they may. A name that does not resolve
 * within 3 seconds is not refused, because it may resolve later.
 */
export async function addressProblem(url: URL, rules: AddressRules, resolve: Resolver = systemResolver): Promise<string | null> {
  const host = bare(url.hostname);
  if (isIP(host) !== 0) return isAllowedAddress(host, rules) ? null : new ForbiddenAddressError(host, host).message;
  const addresses = await new Promise<Resolved[]>((done) => {
    const timer = setTimeout(() => done([]), RESOLVE_WITHIN_MS);
    resolve(host, (_error, found) => {
      clearTimeout(timer);
      done(found);
    });
  });
  const forbidden = addresses.find(({ address }) => !isAllowedAddress(address, rules));
  return forbidden === undefined ? null : new ForbiddenAddressError(host, forbidden.address).message;
}

const RESOLVE_WITHIN_MS = 3_000;

/** An agent that connects to allowed addresses only; other connections fail with ForbiddenAddressError. */
export function guardedAgent(rules: AddressRules, options: { connectTimeoutMs: number; resolve?: Resolver }): Agent {
  const resolve = options.resolve ?? systemResolver;
  const connect = buildConnector({
    timeout: options.connectTimeoutMs,
    autoSelectFamily: true,
    // Node connects to an address of this answer and does not resolve again, so DNS rebinding has no effect.
    lookup: (hostname, wanted, answer) =>
      resolve(hostname, (error, addresses) => {
        const forbidden = addresses.find(({ address }) => !isAllowedAddress(address, rules));
        const failure =
          error ??
          (forbidden !== undefined
            ? new ForbiddenAddressError(hostname, forbidden.address)
            : addresses.length === 0
              ? new Error(`${hostname} has no address`)
              : null);
        if (failure !== null) answer(failure, "", 0);
        else if (wanted.all === true) (answer as (error: null, addresses: Resolved[]) => void)(null, addresses);
        else answer(null, (addresses[0] as Resolved).address, (addresses[0] as Resolved).family);
      }),
  });
  return new Agent({
    // Node does not call `lookup` for a host that is an address, so that is checked here.
    connect: (target, done) => {
      const host = bare(target.hostname);
      if (isIP(host) !== 0 && !isAllowedAddress(host, rules)) return void done(new ForbiddenAddressError(host, host), null);
      connect(target, (error, socket) => {
        // A second check, of the address that the socket reports.
        if (socket?.remoteAddress !== undefined && !isAllowedAddress(socket.remoteAddress, rules)) {
          const { remoteAddress } = socket;
          socket.destroy();
          return void done(new ForbiddenAddressError(host, remoteAddress), null);
        }
        if (error !== null) done(error, null);
        else done(null, socket as NonNullable<typeof socket>);
      });
    },
    // Short, because a connection is reused only within a burst of deliveries.
    keepAliveTimeout: 4_000,
    keepAliveMaxTimeout: 10_000,
    pipelining: 1,
    maxHeaderSize: 16 * 1024,
  });
}
