import { lookup } from "node:dns";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { Agent, buildConnector } from "undici";

/**
 * Which addresses deliveries may go to: public ones, so that nobody makes this server
 * call what only it can reach. What counts is the address that is connected to: a name
 * is resolved once, every address it has is checked, and the connection goes to one
 * of exactly those.
 */
export type AddressRules = {
  /** Lets this machine itself through, for development and tests. */
  allowLoopback: boolean;
};

export class ForbiddenAddressError extends Error {
  constructor(host: string, address: string) {
    super(host === address ? `${address} is not a public address` : `${host} resolves to ${address}, which is not a public address`);
    this.name = "ForbiddenAddressError";
  }
}

/** True for an address on the public internet. IPv4 within IPv6 is judged as what it is. */
export function isAllowedAddress(address: string, rules: AddressRules): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  const range = parsed.range();
  if (range === "loopback") return rules.allowLoopback && (parsed.kind() === "ipv4" || parsed.toNormalizedString() === "0:0:0:0:0:0:0:1");
  if (range !== "unicast" || METADATA_SERVICES.has(parsed.toString())) return false;
  // 2000::/3 is all of IPv6 that is in use. What lies outside of it, such as ::10.0.0.1, is somebody's trick.
  return parsed.kind() === "ipv4" || (parsed.toByteArray()[0] as number) >> 5 === 1;
}

/** Clouds that tell their secrets at an address that looks public. */
const METADATA_SERVICES = new Set(["168.63.129.16"]);

/** The host of an URL as something to resolve or to connect to: IPv6 without brackets. */
function bare(hostname: string): string {
  return hostname.startsWith("[") && hostname.endsWith("]") ? hostname.slice(1, -1) : hostname;
}

type Resolved = { address: string; family: number };
export type Resolver = (hostname: string, answer: (error: Error | null, addresses: Resolved[]) => void) => void;

const systemResolver: Resolver = (hostname, answer) =>
  lookup(hostname, { all: true, verbatim: true }, (error, addresses) => answer(error, addresses ?? []));

/**
 * Why deliveries can't go to an URL, or null when they may. A name that does not
 * resolve now may do so later, so that is no reason.
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

/** An agent whose connections only reach allowed addresses, whatever an URL or a name server says. */
export function guardedAgent(rules: AddressRules, options: { connectTimeoutMs: number; resolve?: Resolver }): Agent {
  const resolve = options.resolve ?? systemResolver;
  const connect = buildConnector({
    timeout: options.connectTimeoutMs,
    autoSelectFamily: true,
    // Node connects to what this answers and does not ask again.
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
    // Node asks no resolver about a host that is an address.
    connect: (target, done) => {
      const host = bare(target.hostname);
      if (isIP(host) !== 0 && !isAllowedAddress(host, rules)) return void done(new ForbiddenAddressError(host, host), null);
      connect(target, (error, socket) => {
        // What is checked before must hold for what came of it, too.
        if (socket?.remoteAddress !== undefined && !isAllowedAddress(socket.remoteAddress, rules)) {
          const { remoteAddress } = socket;
          socket.destroy();
          return void done(new ForbiddenAddressError(host, remoteAddress), null);
        }
        if (error !== null) done(error, null);
        else done(null, socket as NonNullable<typeof socket>);
      });
    },
    // Receivers answer shortly; a connection is kept only for a burst of news.
    keepAliveTimeout: 4_000,
    keepAliveMaxTimeout: 10_000,
    pipelining: 1,
    maxHeaderSize: 16 * 1024,
  });
}
