-- Lets every key live at least the ttl from now, where all of them hold the claim's value.
-- KEYS: the lock keys, then their fencing counters.
-- ARGV: value, ttl in milliseconds, token, milliseconds a counter lives.
-- Answers 1, or 0 where a key does not hold the value.
local n = #KEYS / 2
for i = 1, n do
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then
    return 0
  end
end
for i = 1, n do
  -- A renewal with a shorter ttl must not cut a longer lease.
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
  -- A counter must not end before the lease whose token it holds.
  if redis.call('PEXPIRE', KEYS[n + i], ARGV[4]) == 0 then
    redis.call('SET', KEYS[n + i], ARGV[3], 'PX', ARGV[4])
  end
end
return 1
