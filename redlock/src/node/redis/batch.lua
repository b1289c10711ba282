-- Carries out operations one after another; one that fails does not stop those behind it.
--
-- For each of them ARGV holds its name, how many lock keys it is about (n), and its arguments; KEYS
-- holds its n lock keys and, where it needs them, their n fencing counters. Each is a block that
-- finds its first key at k and its first argument at a, and leaves behind a reply, the place of the
-- next operation's first key (k) and its name (a). Blocks and not functions: what a call costs is
-- mostly what it has to make before it starts.
--
-- Answers one reply each. An error is a list of one text; no other reply is a list of one.
local KEYS, ARGV, call = KEYS, ARGV, redis.pcall
local replies, count, k, a = {}, 0, 1, 1
while ARGV[a] do
  local operation, n, reply = ARGV[a], tonumber(ARGV[a + 1]), nil
  a = a + 2
  --OPERATIONS--
  count = count + 1
  replies[count] = reply
end
return replies
