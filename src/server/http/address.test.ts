import { expect, test } from "vitest";
import { clientAddress } from "./address.ts";

test.each([
  // X-Forwarded-For, remote address, proxies, client address
  ["198.51.100.9", "192.0.2.1", 0, "192.0.2.1"],
  [undefined, "192.0.2.1", 0, "192.0.2.1"],
  ["198.51.100.9", "10.0.0.1", 1, "198.51.100.9"],
  // A client's own entries stand before those that the proxies append.
  ["203.0.113.66, 198.51.100.9", "10.0.0.1", 1, "198.51.100.9"],
  ["203.0.113.66, 198.51.100.9, 10.0.0.2", "10.0.0.1", 2, "198.51.100.9"],
  // Fewer entries than proxies, or an entry that is not an address.
  [undefined, "192.0.2.1", 1, "192.0.2.1"],
  ["198.51.100.9", "192.0.2.1", 2, "192.0.2.1"],
  ["not an address", "192.0.2.1", 1, "192.0.2.1"],
  ["9".repeat(9_000), "192.0.2.1", 1, "192.0.2.1"],
  ["::ffff:198.51.100.9", "192.0.2.1", 1, "198.51.100.9"],
  ["2001:db8:1:2:3:4:5:6", "192.0.2.1", 1, "2001:db8:1:2::"],
  ["2001:db8:1:2:ffff::1", "192.0.2.1", 1, "2001:db8:1:2::"],
  ["", undefined, 0, "unknown"],
])("X-Forwarded-For %s over a connection from %s behind %i proxies comes from %s", (forwarded, remote, proxies, expected) => {
  expect(clientAddress(forwarded, remote, proxies)).toBe(expected);
});
