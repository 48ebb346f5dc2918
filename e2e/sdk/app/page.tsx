import { getQuotaUser } from "@usequota/nextjs";

/** The smallest page that shows whom the signed cookie names. */
export default async function Page() {
  const user = await getQuotaUser();
  return <p>{user === null ? "nobody" : `${user.email} has ${user.balance}`}</p>;
}
