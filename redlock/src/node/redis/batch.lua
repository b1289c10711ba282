-- Carries out operations one after another; one that fails does not stop those behind it.
--
-- For each of them ARGV holds its name and its arguments, and KEYS its n lock keys and, where it needs
-- them, their n fencing counters. What is mostly the same for many operations stands in registers that
-- instructions between the operations set: n, ttl, span and by. Every word in ARGV costs a node as much
-- as a good part of what is done with it.
--
-- Each operation is a block that finds its first key at k and its first argument at a, and leaves
-- behind a reply, the place of the next operation's first key (k) and its name (a). Blocks and not
-- functions: what a call costs is mostly what it has to make before it starts.
--
-- Answers one reply each. An error is a list of one text; no other reply is a list of one. One
-- operation that is alone in its call, about one key, is answered by its reply as it is.
local KEYS, ARGV, call = KEYS, ARGV, redis.pcall
local first = ARGV[1]
--ALONE--
local replies, count, k, a = {}, 0, 1, 1
local n, ttl, span, by = 1, nil, 1, nil
while ARGV[a] do
  local operation, reply = ARGV[a], nil
  a = a + 1
  --OPERATIONS--
  elseif operation == 'ttl' then
    ttl, a = ARGV[a], a + 1
  elseif operation == 'by' then
    by, a = ARGV[a], a + 1
  elseif operation == 'n' then
    n, a = tonumber(ARGV[a]), a + 1
  elseif operation == 'span' then
    span, a = tonumber(ARGV[a]), a + 1
  end
  if reply ~= nil then
    count = count + 1
    replies[count] = reply
  end
end
return replies
