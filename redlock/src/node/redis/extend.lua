-- Lets every key live at least the ttl from now, where all of them hold the claim's value.
-- Keys: n lock keys, then their fencing counters. Arguments: value, ttl in milliseconds, token.
-- Answers 1, or 0 where a key does not hold the value.
function ops.extend(k, n, a)
  if not holds(k, n, ARGV[a]) then
    return 0
  end
  local ttl = ARGV[a + 1]
  for i = k, k + n - 1 do
    -- A renewal with a shorter ttl must not cut a longer lease.
    if redis.call('PTTL', KEYS[i]) < tonumber(ttl) then
      redis.call('PEXPIRE', KEYS[i], ttl)
    end
    -- A counter must not end before the lease whose token it holds.
    if redis.call('PEXPIRE', KEYS[n + i], COUNTER_TTL) == 0 then
      redis.call('SET', KEYS[n + i], ARGV[a + 2], 'PX', COUNTER_TTL)
    end
  end
  return 1
end
